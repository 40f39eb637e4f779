#!/usr/bin/env python3
"""Everything that `make test` runs, phase by phase; the last line is "N passed, N failed".

A phase that has nothing to test yet is skipped and says so. A phase that cannot run because a tool
is missing has failed, except where `optional` gives the reason why it may be left out.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build-logs"
VENV = ROOT / ".deps" / "venv" / "bin" / "python"
SANITIZED = ["-Dbuildtype=debug", "-Db_lundef=false"]
PHASE_SECONDS_MAX = 900

# folder -> (compiler, options). The release binary is `make`'s own.
BUILDS = {
    "build-gcc": ("gcc", ["-Doptimization=2", "-Ddebug=true"]),
    "build-clang": ("clang", ["-Doptimization=2", "-Ddebug=true"]),
    "build-asan": ("gcc", [*SANITIZED, "-Db_sanitize=address,undefined"]),
    "build-tsan": ("gcc", [*SANITIZED, "-Db_sanitize=thread"]),
    "build-fuzz": ("clang", [*SANITIZED, "-Doptimization=1", "-Db_sanitize=address,undefined",
                             "-Dfuzzers=true"]),
}

SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class PhaseFailed(Exception):
    """The phase cannot go on; what it says counts as one failure."""


class Skipped(Exception):
    """There is nothing to test, or the tool is optional."""


class Phase:
    """What one phase found, and its log."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.passed = self.failed = self.skipped = 0
        self.notes = []  # printed at the end
        self.log = LOGS / f"{name}.log"
        self.log.write_text("")

    def ok(self, count=1):
        self.passed += count

    def fail(self, note):
        self.failed += 1
        self.notes.append(f"FAILED {note}")

    def skip(self, note):
        self.skipped += 1
        self.notes.append(f"skipped {note}")

    def run(self, command, seconds=PHASE_SECONDS_MAX, **environment):
        """Runs a command in a session of its own, so that nothing outlives it. (status, output)"""
        command = [str(word) for word in command]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True, env={**os.environ, **environment}) as child:
            try:
                output, _ = child.communicate(timeout=seconds)
                status = child.returncode
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                output, _ = child.communicate()
                status = -1
                output += f"\nstopped after {seconds} s\n"
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{output}\n(status {status})\n")
        return status, output

    def must(self, command, what, **keywords):
        status, output = self.run(command, **keywords)
        if status != 0:
            raise PhaseFailed(f"{what}\n{tail(output)}")
        return output

    def tap(self, command, what, **keywords):
        """Runs a program that speaks TAP and counts its lines."""
        status, output = self.run(command, **keywords)
        self.count_tap(output, what, status == 0)

    def count_tap(self, output, what, exited_well):
        failures, comments = 0, []
        for line in output.splitlines():
            match = re.match(r"\s*(not )?ok\b(.*)", line)
            if line.lstrip().startswith("#"):
                comments.append(line.strip())
                continue
            if not match:
                continue
            if re.search(r"#\s*skip", match.group(2), re.I):
                self.skip(f"{what}:{match.group(2)}")
            elif match.group(1):
                failures += 1
                self.fail(f"{what}:{match.group(2)}" + "".join(f"\n    {c}" for c in comments))
            else:
                self.ok()
            comments = []
        if not exited_well and not failures:
            self.fail(f"{what}: ended badly\n{tail(output)}")


def tail(text, lines=25):
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])


def need(*commands):
    for command in commands:
        if not shutil.which(str(command)):
            raise PhaseFailed(f"{command} is not installed (make installs it from packages.txt)")


def optional(command, reason):
    if not shutil.which(str(command)):
        raise Skipped(f"{command} is not installed: {reason}")


# --- building ---------------------------------------------------------------------------------------


def build(phase, folder):
    """Configures the folder where its options are not the ones wanted, and builds it."""
    compiler, options = BUILDS[folder]
    need("meson", "ninja", compiler)
    noted = ROOT / folder / "options.txt"
    wanted = " ".join([compiler, *options])
    if not noted.exists() or noted.read_text() != wanted:
        shutil.rmtree(ROOT / folder, ignore_errors=True)
        phase.must(["meson", "setup", folder, *options], f"{folder} cannot be configured",
                   CC=compiler)
        noted.write_text(wanted)
    phase.must(["ninja", "-C", folder, "-j", phase.options.jobs], f"{folder} does not build")
    phase.ok()


def meson_test(phase, folder, *arguments, seconds=PHASE_SECONDS_MAX):
    """Runs the programs that meson knows and counts the TAP lines of each."""
    logs = ROOT / folder / "meson-logs"
    for old in logs.glob("testlog*.json"):
        old.unlink()
    _, output = phase.run(["meson", "test", "-C", folder, "--no-rebuild", "--num-processes",
                           phase.options.jobs, *arguments], seconds=seconds,
                          **SANITIZER_ENVIRONMENT)
    found = list(logs.glob("testlog*.json"))  # the name ends in the wrapper's
    if not found:
        raise PhaseFailed(f"{folder}: no test ran\n{tail(output)}")
    for line in found[0].read_text(errors="replace").splitlines():
        test = json.loads(line)
        text = test.get("stdout") or ""
        well = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
        if not well:
            text += "\n" + (test.get("stderr") or "")
            with phase.log.open("a") as out:
                out.write(f"--- {test['name']}: {test['result']}\n{text}\n")
        phase.count_tap(text, test["name"].split(" / ")[-1], well)


# --- the phases -------------------------------------------------------------------------------------


def release(phase):
    need("make", "meson", "ninja", "gcc", "readelf")
    phase.must(["make", "-s", "all", f"JOBS={phase.options.jobs}"], "make fails")
    phase.ok()
    if not (ROOT / "build" / "penstock").exists():
        raise Skipped("there is no src/main.c yet")
    phase.tap(["tools/check_hardening.sh", "build/penstock"], "hardening")


def checks(phase):
    phase.tap([sys.executable, "tools/check_floors.py"], "floors")
    phase.tap([sys.executable, "tools/check_style.py"], "style")
    pytest(phase, "tests/tools")


def lint(phase):
    need("clang-format", "clang-tidy")
    status, output = phase.run(["tools/lint.sh"])
    if status == 0:
        phase.ok()
    else:
        phase.fail(f"lint\n{tail(output, 60)}")


def unit(phase):
    build(phase, "build-gcc")
    meson_test(phase, "build-gcc")


def clang(phase):
    build(phase, "build-clang")
    meson_test(phase, "build-clang")


def asan(phase):
    build(phase, "build-asan")
    meson_test(phase, "build-asan", "--timeout-multiplier", "4")


def tsan(phase):
    build(phase, "build-tsan")
    arguments = ["--timeout-multiplier", "4"]
    # The run-time library of gcc 12 cannot place its shadow where addresses are very random.
    if phase.run(["setarch", "-R", "true"])[0] == 0:
        arguments += ["--wrapper", "setarch -R"]
    # The fault tests take minutes a row under this sanitizer; ASan runs them.
    meson_test(phase, "build-tsan", "--no-suite", "fault", *arguments)


def valgrind(phase):
    need("valgrind")
    build(phase, "build-gcc")
    # "Possibly lost" is what it calls the thread-local storage of a thread that still runs.
    wrapper = ("valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite"
               " --errors-for-leak-kinds=definite")
    suppressions = ROOT / "tests" / "valgrind.supp"
    if suppressions.exists():
        wrapper += f" --suppressions={suppressions}"
    # The fault tests count their allocations themselves, and take a thousand processes.
    meson_test(phase, "build-gcc", "--no-suite", "fault", "--timeout-multiplier", "20",
               "--wrapper", wrapper)


def aarch64(phase):
    reason = "the portable rooms are tested on this machine's own processor only"
    optional("aarch64-linux-gnu-gcc", reason)
    optional("qemu-aarch64", reason)
    phase.tap([sys.executable, "tools/aarch64_tests.py", "--jobs", phase.options.jobs], "aarch64")


def fault(phase):
    """Each n-th call fails, not just some: the others run a sample with the unit tests."""
    build(phase, "build-asan")
    phase.tap(["build-asan/tests/fault/fault", "--long"], "fault", seconds=8 * 3600,
              **SANITIZER_ENVIRONMENT)


def run_fuzzer(phase, program, seconds):
    name = program.name.removeprefix("fuzz_")
    seeds = ROOT / "tests" / "fuzz" / "corpus" / name
    artifacts = LOGS / f"fuzz-{name}-"
    with tempfile.TemporaryDirectory() as found:
        command = [program, f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10",
                   "-print_final_stats=1", f"-artifact_prefix={artifacts}", found]
        dictionary = seeds.with_suffix(".dict")
        if dictionary.exists():
            command.insert(1, f"-dict={dictionary}")
        status, output = phase.run(command + ([seeds] if seeds.is_dir() else []),
                                   seconds=seconds + 120, **SANITIZER_ENVIRONMENT)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", output)
    if status == 0 and runs and int(runs.group(1)) > 0:
        phase.ok()
        phase.notes.append(f"fuzz {name}: {int(runs.group(1)):,} inputs in {seconds} s")
    else:
        phase.fail(f"fuzz {name}: see {artifacts}*\n{tail(output, 40)}")


def fuzz(phase):
    sources = sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
    if not sources:
        raise Skipped("there is no fuzz target yet")
    need("clang")
    build(phase, "build-fuzz")
    programs = [ROOT / "build-fuzz" / "tests" / "fuzz" / source.stem for source in sources]
    with ThreadPoolExecutor(max_workers=phase.options.jobs) as pool:
        for program in programs:
            if program.exists():
                pool.submit(run_fuzzer, phase, program, phase.options.fuzz_seconds)
            else:
                phase.fail(f"{program.name} is not in tests/fuzz/meson.build")


def pytest(phase, folder, *arguments, seconds=PHASE_SECONDS_MAX, **environment):
    if not any((ROOT / folder).glob("**/test_*.py")):
        raise Skipped(f"there is no test in {folder} yet")
    if not VENV.exists():
        raise PhaseFailed("no .deps/venv: run tools/install_packages.sh test")
    report = LOGS / f"{phase.name}.xml"
    report.unlink(missing_ok=True)
    status, output = phase.run([VENV, "-m", "pytest", "-q", folder, f"--junitxml={report}",
                                *arguments], seconds=seconds, PYTHONDONTWRITEBYTECODE="1",
                               **environment)
    if not report.exists():
        raise PhaseFailed(f"{folder}: pytest ended badly\n{tail(output)}")
    failures = 0
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag: child for child in case}
        if "failure" in kinds or "error" in kinds:
            failures += 1
            problem = kinds.get("failure", kinds.get("error"))
            phase.fail(f"{name}: {problem.get('message')}"[:2000])
        elif "skipped" in kinds:
            phase.skip(f"{name}: {kinds['skipped'].get('message')}")
        else:
            phase.ok()
    # 5: nothing was collected (every test is marked `long`).
    if status not in (0, 5) and not failures:
        phase.fail(f"{folder}: pytest exits with {status}\n{tail(output)}")


def binary(folder):
    path = ROOT / folder / "penstock"
    if not path.exists():
        raise Skipped(f"{folder}/penstock is not built")
    return str(path)


def conformance(phase):
    pytest(phase, "tests/conformance", PENSTOCK_BINARY=binary("build"))


def e2e(phase):
    pytest(phase, "tests/e2e", "-m", "not long", PENSTOCK_BINARY=binary("build"))


def e2e_asan(phase):
    build(phase, "build-asan")
    pytest(phase, "tests/e2e", "-m", "not long", PENSTOCK_BINARY=binary("build-asan"),
           PENSTOCK_IS_SANITIZED="1", **SANITIZER_ENVIRONMENT)


def soak(phase):
    """What takes long: kills, reloads and vanishing peers under load."""
    pytest(phase, "tests/e2e", "-m", "long", seconds=4 * 3600, PENSTOCK_BINARY=binary("build"))


def h2spec(phase):
    if not (ROOT / ".deps" / "bin" / "h2spec").exists():
        raise Skipped("h2spec is not installed: it needs Go and the network once")
    build(phase, "build-gcc") # the release target builds the gateway alone
    phase.tap([sys.executable, "tools/h2spec/run.py", binary("build-gcc")], "h2spec")


PHASES = [release, checks, unit, clang, lint, asan, tsan, valgrind, aarch64, fuzz, conformance,
          h2spec, e2e, e2e_asan, fault, soak]
# clang-tidy alone takes ten minutes (`make lint`); valgrind and the second run of the end-to-end
# tests, under ASan, are for the long run too.
LONG_ONLY = [e2e_asan, fault, lint, soak, valgrind]


def run_phase(function, options):
    phase = Phase(function.__name__.replace("_", "-"), options)
    print(f"== {phase.name}", flush=True)
    start = time.monotonic()
    try:
        function(phase)
    except Skipped as why:
        phase.skip(f"{phase.name}: {why}")
    except PhaseFailed as why:
        phase.fail(f"{phase.name}: {why}")
    phase.seconds = time.monotonic() - start
    for note in phase.notes:
        print(note)
    print(f"   {phase.passed} passed, {phase.failed} failed, {phase.skipped} skipped, "
          f"{phase.seconds:.1f} s", flush=True)
    return phase


def main():
    names = {phase.__name__.replace("_", "-"): phase for phase in PHASES}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--fuzz-seconds", type=int, help="for each target; 30, or 600 with --long")
    parser.add_argument("--long", action="store_true", help="also what takes hours")
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=", ".join(names))
    options = parser.parse_args()
    unknown = [name for name in options.phases if name not in names]
    if unknown:
        parser.error(f"no phase {', '.join(unknown)}; there are {', '.join(names)}")
    options.fuzz_seconds = options.fuzz_seconds or (600 if options.long else 30)
    chosen = [names[name] for name in options.phases] or \
        [phase for phase in PHASES if options.long or phase not in LONG_ONLY]

    LOGS.mkdir(exist_ok=True)
    done = [run_phase(function, options) for function in chosen]
    print("\nphase        passed failed skipped seconds   (logs: build-logs/)")
    for phase in done:
        print(f"{phase.name:<12} {phase.passed:>6} {phase.failed:>6} {phase.skipped:>7} "
              f"{phase.seconds:>7.1f}")
    passed, failed, skipped = (sum(getattr(phase, kind) for phase in done)
                               for kind in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
