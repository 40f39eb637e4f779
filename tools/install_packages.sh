#!/bin/bash
# install_packages.sh SECTION... -- installs what tools/packages.txt lists, where it is missing.
#
# Asks the network for nothing when nothing is missing. With --list it only prints what is missing;
# with --apt-only it leaves pip, npm and Go alone.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
list=$root/tools/packages.txt
deps=$root/.deps
mode=install
apt_only=no
sections=()

say() { echo "packages: $*" >&2; }
die() { say "$*"; exit 1; }

for word in "$@"; do
    case $word in
    --list) mode=list ;;
    --apt-only) apt_only=yes ;;
    -*) die "usage: install_packages.sh [--list] [--apt-only] SECTION..." ;;
    *)
        grep -qxF "[$word]" "$list" || die "no section [$word] in tools/packages.txt"
        sections+=("$word")
        ;;
    esac
done
[ ${#sections[@]} -gt 0 ] || die "usage: install_packages.sh [--list] [--apt-only] SECTION..."

# rows KIND: what stands behind KIND in the chosen sections.
rows() {
    awk -v kind="$1" -v wanted=" ${sections[*]} " '
        /^\[/ { name = substr($0, 2, length($0) - 2); on = index(wanted, " " name " "); next }
        on && $1 == kind { sub(/^[^ ]+ +/, ""); print }' "$list" | sort -u
}

# --- apt ------------------------------------------------------------------------------------------

missing_apt() {
    local name unless command names=()
    while read -r name unless command; do
        [ "$unless" = unless ] && command -v "$command" >/dev/null && continue
        names+=("$name")
    done < <(rows apt)
    [ ${#names[@]} -gt 0 ] || return 0
    # Virtual and multi-architecture names answer with more than one line; "ii" is installed.
    dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' "${names[@]}" 2>/dev/null |
        awk -v names="${names[*]}" '
            $2 == "ii" { there[$1] = 1 }
            END { n = split(names, a, " "); for (i = 1; i <= n; i++) if (!there[a[i]]) print a[i] }'
}

install_apt() {
    if ! command -v dpkg-query >/dev/null; then
        say "this system has no dpkg; the build needs what [build] in tools/packages.txt names"
        return 0
    fi
    local missing
    mapfile -t missing < <(missing_apt)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "apt: ${missing[*]}"
    [ "$mode" = install ] || return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "not root and no sudo; install these by hand"
        as_root=(sudo)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    "${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists at hand"
    "${apt[@]}" install --no-install-recommends "${missing[@]}" >&2 ||
        die "apt-get could not install: ${missing[*]}"
}

# --- pip ------------------------------------------------------------------------------------------

missing_pip() {
    local python=$deps/venv/bin/python
    if [ ! -x "$python" ]; then
        rows pip
        return
    fi
    rows pip | "$python" -c '
import sys
from importlib import metadata
for row in sys.stdin.read().split():
    name, version = row.split("==")
    try:
        there = metadata.version(name)
    except metadata.PackageNotFoundError:
        there = None
    if there != version:
        print(row)'
}

install_pip() {
    local missing
    mapfile -t missing < <(missing_pip)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "pip: ${missing[*]}"
    [ "$mode" = install ] || return 0
    [ -x "$deps/venv/bin/python" ] || python3 -m venv "$deps/venv" ||
        die "python3 -m venv failed"
    "$deps/venv/bin/python" -m pip install -q --disable-pip-version-check "${missing[@]}" >&2 ||
        die "pip could not install: ${missing[*]}"
}

# --- npm ------------------------------------------------------------------------------------------

# One folder for all sections: package.json keeps what earlier calls asked for.
missing_npm() {
    command -v node >/dev/null || { rows npm; return; }
    # shellcheck disable=SC2016 # the dollars are JavaScript's
    rows npm | node -e '
const fs = require("fs");
for (const row of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const at = row.lastIndexOf("@"), file = `${process.argv[1]}/node_modules/${row.slice(0, at)}/package.json`;
    if (!fs.existsSync(file) || JSON.parse(fs.readFileSync(file)).version !== row.slice(at + 1))
        console.log(row);
}' "$deps/node"
}

write_package_json() {
    { rows npm | sed 's/^/dependencies /'; rows npm-override | sed 's/^/overrides /'; } | node -e '
const fs = require("fs"), file = process.argv[1];
const json = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : {private: true};
for (const row of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [kind, spec] = row.split(" "), at = spec.lastIndexOf("@");
    (json[kind] ??= {})[spec.slice(0, at)] = spec.slice(at + 1);
}
fs.writeFileSync(file, JSON.stringify(json, null, 2) + "\n");' "$deps/node/package.json"
}

install_npm() {
    local missing
    mapfile -t missing < <(missing_npm)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "npm: ${missing[*]}"
    [ "$mode" = install ] || return 0
    mkdir -p "$deps/node"
    write_package_json
    npm install --prefix "$deps/node" --no-package-lock --no-audit --no-fund --loglevel=error >&2 ||
        die "npm could not install: ${missing[*]}"
}

# --- Go -------------------------------------------------------------------------------------------

install_go() {
    local folder package name pins
    while read -r folder package; do
        name=${package##*/}
        pins=$(cksum <"$root/$folder/go.sum")
        [ -x "$deps/bin/$name" ] && [ "$pins" = "$(cat "$deps/bin/$name.pins" 2>&1)" ] && continue
        say "go: $package"
        [ "$mode" = install ] || continue
        mkdir -p "$deps/bin"
        (cd "$root/$folder" && GOBIN=$deps/bin GOFLAGS=-mod=readonly GO111MODULE=on \
            go install -buildvcs=false "$package" >&2) || die "go could not install $package"
        echo "$pins" >"$deps/bin/$name.pins"
    done < <(rows go)
}

install_apt
if [ "$apt_only" = no ]; then
    install_pip
    install_npm
    install_go
fi
