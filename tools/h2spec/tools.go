//go:build tools

// Package tools pins the public HTTP/2 conformance tester and what it is built from. The versions
// are the newest that Debian 12's own Go compiles.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
