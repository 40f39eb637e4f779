#!/bin/bash
# check_hardening.sh BINARY -- the release binary is hardened as ARCHITECTURE.md says. TAP.
set -uo pipefail

binary=${1:?usage: check_hardening.sh BINARY}
number=0
failures=0

check() { # check NAME COMMAND...
    local name=$1
    shift
    number=$((number + 1))
    if "$@" >/dev/null 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        failures=$((failures + 1))
    fi
}

# Captured first: grep -q on a pipe would end the writer, and pipefail would call that a failure.
elf_header=$(readelf -hW "$binary")
segments=$(readelf -lW "$binary")
dynamic=$(readelf -dW "$binary")
symbols=$(readelf --dyn-syms -W "$binary")
has() { grep -qE "$2" <<<"$1"; }
lacks() { ! grep -qE "$2" <<<"$1"; }

check "is position independent" has "$elf_header" 'Type: +DYN'
check "relocations are read-only after start" has "$segments" 'GNU_RELRO'
check "all symbols are bound at start" has "$dynamic" 'BIND_NOW|FLAGS.*NOW'
check "the stack is not executable" has "$segments" 'GNU_STACK.* RW +0x'
check "no segment is writable and executable" lacks "$segments" 'LOAD.* RWE '
check "no relocation writes to code" lacks "$dynamic" 'TEXTREL'
check "the stack protector is in" has "$symbols" '__stack_chk_fail'
check "fortified library functions are in" has "$symbols" '__[a-z]+_chk@'
check "no folder is searched for libraries" lacks "$dynamic" 'RPATH|RUNPATH'
check "the C library is all that it needs" lacks "$(grep NEEDED <<<"$dynamic")" \
    'lib(ssl|crypto|nghttp2|cares|yaml|z)[-.]'
# The flag leaves no trace where no frame exceeds a page, so the build's own account is asked.
commands=$(dirname "$binary")/compile_commands.json
check "every file is compiled with stack-clash protection" \
    test -s "$commands" -a -z "$(grep '"command"' "$commands" |
        grep -v -- -fstack-clash-protection)"
echo "1..$number"
[ "$failures" -eq 0 ]
