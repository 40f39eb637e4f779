"""tools/fiber_gdb.py finds every fiber of a process, and of a core file, where it waits."""

import pathlib
import re
import resource
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tools" / "fiber_gdb.py"
FLAGS = ["-std=gnu17", "-O2", "-g", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-pthread",
         '-DPENSTOCK_VERSION="test"', f"-I{ROOT / 'src'}", f"-I{ROOT}"]
SETTINGS = ["set confirm off", "set debuginfod enabled off", "set width 0"]

# What tests/tools/parked.c makes: thread, id, name, label, state.
FIBERS = [
    (1, 1, "sleeper", "request 4711", r"waiting for time to pass, 3\d{6} ms left"),
    (1, 2, "waiter", "-", "waiting for a letter"),
    (1, 3, "parent", "-", "waiting for its children"),
    (1, 4, "witness", "-", "running"),
    (1, 5, "child", "child of the parent", r"waiting for time to pass, 3\d{6} ms left"),
    (1, 6, "unborn", "-", "ready"),
    (2, 1, "elsewhere", "-", "waiting for a letter"),
    (2, 2, "teller", "-", "waiting for the end of the test"),
]


def allow_cores():
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def gdb(*words, commands=(), folder=None):
    command = ["gdb", "-q", "-nx", "--batch"]
    for text in [*SETTINGS, *commands]:
        command += ["-ex", text]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, check=False, cwd=folder,
                          preexec_fn=allow_cores)


@pytest.fixture(name="program", scope="module")
def fixture_program(tmp_path_factory):
    for tool in ("gdb", "gcc"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    program = tmp_path_factory.mktemp("parked") / "parked"
    sources = [ROOT / "tests/tools/parked.c", *(ROOT / "src/base").glob("*.c"),
               *(ROOT / "src/fiber").glob("*.c"), *(ROOT / "src/fiber").glob("*.S")]
    subprocess.run(["gcc", *FLAGS, *sources, "-o", program], check=True)
    return program


@pytest.fixture(name="live", scope="module")
def fixture_live(program):
    """The program stopped; then it aborts, and the system writes a core file where it may."""
    commands = ["break all_are_parked", "run", f"source {SCRIPT}", "fiber list", "echo ---\\n",
                "fiber bt", "echo ---\\n", "backtrace", "signal SIGABRT"]
    done = gdb(program, commands=commands, folder=program.parent)
    if "hit Breakpoint 1" not in done.stdout:
        pytest.skip(f"gdb cannot run a program here: {done.stderr.strip()[-200:]}")
    return done.stdout


@pytest.fixture(name="dead", scope="module")
def fixture_dead(program, live):
    assert live
    cores = list(program.parent.glob("core*"))
    if not cores:
        pytest.skip("this system writes no core file into the working directory")
    return gdb(program, cores[0], commands=[f"source {SCRIPT}", "fiber list", "echo ---\\n",
                                            "fiber bt"]).stdout


@pytest.fixture(name="output", params=["live", "dead"])
def fixture_output(request):
    return request.getfixturevalue(request.param)


def frames_of(output, thread, number):
    """The names of the functions, innermost first, that `fiber bt` shows for one fiber."""
    part = output.split("---\n")[1]
    match = re.search(rf"^thread {thread}  fiber {number}  .*\n((?:#.*\n|it has .*\n)*)", part, re.M)
    assert match, part
    assert [int(n) for n in re.findall(r"^#(\d+)", match[1], re.M)] == \
        list(range(match[1].count("\n#") + match[1].startswith("#")))
    return re.findall(r"^#\d+ +(?:0x\w+ in )?(\w+) ", match[1], re.M) or match[1]


def test_list(output):
    lines = re.findall(r"^thread \d.*$", output.split("---\n")[0], re.M)
    assert len(lines) == len(FIBERS)
    for line, (thread, number, name, label, state) in zip(lines, FIBERS):
        assert re.fullmatch(rf"thread {thread}  fiber {number}  {name}  {label}  {state}", line)
    assert f"\n{len(FIBERS)} fibers\n" in output


@pytest.mark.parametrize("thread, number", [(1, 1), (1, 5)])
def test_where_a_fiber_sleeps(output, thread, number):
    frames = frames_of(output, thread, number)
    assert frames[frames.index("fiber_park"):][:2] == ["fiber_park", "fiber_sleep"]
    assert frames.count("sleep_at_depth") == 4
    assert frames[-1] == "context_entry_asm"


@pytest.mark.parametrize("thread, number, function", [(1, 3, "parent"), (2, 2, "tell")])
def test_what_called_the_wait(output, thread, number, function):
    frames = frames_of(output, thread, number)
    assert function in frames or "run" in frames  # the optimiser may have inlined it
    assert frames[-1] == "context_entry_asm"


def test_one_that_runs_and_one_that_has_not(output):
    assert frames_of(output, 1, 4)[0] == "all_are_parked"
    assert "begins in" in frames_of(output, 1, 6) and "unborn" in frames_of(output, 1, 6)


def test_nothing_is_left_behind(live):
    """The thread's own backtrace is what it was before."""
    last = live.split("---\n")[2]
    assert re.match(r"#0  all_are_parked", last)
    assert "sleep_at_depth" not in last


@pytest.mark.parametrize("command, complaint", [
    ("fiber bt 99", "there is no fiber 99"),
    ("fiber bt x", "usage: fiber bt [ID]"),
])
def test_mistakes(program, command, complaint):
    done = gdb(program, commands=["break all_are_parked", "run", f"source {SCRIPT}", command])
    if "hit Breakpoint 1" not in done.stdout:
        pytest.skip("gdb cannot run a program here")
    assert complaint in done.stderr


def test_without_a_process(program):
    done = gdb(program, commands=[f"source {SCRIPT}", "fiber list"])
    assert "there is no process" in done.stderr
