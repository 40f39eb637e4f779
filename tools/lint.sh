#!/bin/bash
# lint.sh -- what `make lint` runs: format, the checks, shellcheck, clang-tidy. All, then a verdict.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failures=0
step() { # step NAME COMMAND...
    echo "== $1"
    shift
    "$@" || failures=$((failures + 1))
}

sources() { git ls-files '*.c' '*.h'; }

format() { sources | xargs -r clang-format --dry-run -Werror; }

shell() {
    if ! command -v shellcheck >/dev/null; then
        echo "shellcheck is not installed: left out"
        return 0
    fi
    git grep -lE '^#!/bin/(ba)?sh' -- . | xargs -r shellcheck
}

tidy() {
    # Its own folder: clang-tidy wants flags that clang knows.
    [ -f build-clang/build.ninja ] || CC=clang meson setup build-clang >/dev/null || return 1
    git ls-files 'src/*.c' |
        xargs -r -n 4 -P "$(nproc)" clang-tidy -p build-clang --quiet 2> >(
            # It counts the warnings of system headers, which nobody asked for.
            grep -vE '^[0-9]+ warnings? (and [0-9]+ errors? )?generated|^Suppressed|^Use -' >&2
        )
}

step "clang-format" format
step "floors" tools/check_floors.py
step "style" tools/check_style.py
step "shellcheck" shell
step "clang-tidy" tidy
[ "$failures" -eq 0 ] || echo "lint: $failures of 5 steps failed"
[ "$failures" -eq 0 ]
