#!/usr/bin/env python3
"""Unit tests on the other processor: compiled for aarch64, linked statically, run under qemu. TAP.

The cross compiler comes without the third-party libraries, so what includes one of their headers,
directly or through ours, is left out; a test that then does not link is left out too, unless it
tests a room of the lowest two floors, which need no library.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys

from check_floors import Floors, room_of
from tap import Tap

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-aarch64"
LIBRARIES = re.compile(r"^\s*#\s*include\s*<(openssl/|nghttp2/|ares|yaml\.h|zlib\.h|sqlite3|libpq)",
                       re.M)
QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
FOREIGN = re.compile(r"(x86|x86_64|avx2|avx512|ucontext)\.[cS]$")
FLAGS = ["-std=gnu17", "-O2", "-g", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-pthread",
         "-fstack-protector-strong", "-fstack-clash-protection", "-Wall", "-Wextra", "-Werror",
         '-DPENSTOCK_VERSION="aarch64"']


def closure(path):
    """The file and every file of ours that it includes."""
    seen, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file in seen or not file.exists():
            continue
        seen.add(file)
        for name in QUOTED.findall(file.read_text(errors="replace")):
            todo += [ROOT / "src" / name, ROOT / name, file.parent / name]
    return {file.resolve() for file in seen}


def is_portable(path):
    return not any(LIBRARIES.search(file.read_text(errors="replace")) for file in closure(path))


def run(command, seconds=300):
    try:
        done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True,
                              text=True, errors="replace", timeout=seconds, check=False)
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return -1, f"no end after {seconds} s"


def compile_one(path):
    target = BUILD / (path.relative_to(ROOT).as_posix().replace("/", "_") + ".o")
    status, output = run(["aarch64-linux-gnu-gcc", *FLAGS, "-Isrc", "-I.", "-c", path,
                          "-o", target])
    return target, status, output


def rooms_of(test):
    """The rooms whose headers the test itself includes."""
    names = QUOTED.findall(test.read_text())
    return {room_of(name.split("src/")[-1]) for name in names if not name.startswith("tests/")}


def needs_no_library(test, floors):
    return all(floors.floor.get(room, 9) <= 1 for room in rooms_of(test))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir()
    floors = Floors((ROOT / "ARCHITECTURE.md").read_text())
    tap = Tap()

    sources = [path for path in sorted((ROOT / "src").rglob("*.[cS]"))
               if not FOREIGN.search(path.name) and path.name != "main.c" and is_portable(path)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        built = list(pool.map(compile_one, sources))
    tap.rule(f"{len(sources)} sources compile for aarch64",
             [line for _, status, output in built if status for line in output.splitlines()])
    library = BUILD / "house.a"
    run(["aarch64-linux-gnu-ar", "rcs", library, *[o for o, status, _ in built if status == 0]])

    for test in sorted((ROOT / "tests" / "unit").glob("test_*.c")):
        if not is_portable(test):
            continue
        program = BUILD / test.stem
        status, output = run(["aarch64-linux-gnu-gcc", *FLAGS, "-static", "-Isrc", "-I.", test,
                              library, library, "-o", program, "-lm"])
        if status and "undefined reference" in output and not needs_no_library(test, floors):
            print(f"# {test.stem}: needs a library, not tested")
            continue
        if status:
            tap.rule(f"{test.stem} is built", output.splitlines()[-20:])
            continue
        status, output = run(["qemu-aarch64", "-E", "PENSTOCK_EMULATED=1", program])
        passed = len(re.findall(r"^ok ", output, re.M))
        findings = [] if status == 0 and passed else \
            [line for line in output.splitlines() if line[:3] != "ok "][-20:] or ["no test"]
        tap.rule(f"{test.stem}: {passed} passed", findings)
    tap.done()


if __name__ == "__main__":
    sys.exit(main())
