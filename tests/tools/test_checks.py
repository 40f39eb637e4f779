"""The checks fail on what they are there to catch: each test builds a small bad house."""

import pathlib
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"

TABLE = """
| floor | room | what lives there |
| --- | --- | --- |
| 0 | `src/base/` | ground |
| 1 | `src/json/` | one |
| 1 | `src/text/` | one |
| 2 | `src/cli/` `src/main.c` | top |

| from | to | why |
| --- | --- | --- |
"""

HEADER = """/* {name} -- a thing.
 *
 * Why: it is needed.
 *
 * Owns:      nothing.
 * Suspends:  never.     Threads: any.
 */
#ifndef {guard}
#define {guard}
int f(void);
#endif
"""


class House:
    def __init__(self, root):
        self.root = root
        self.write("ARCHITECTURE.md", TABLE)
        self.write("src/base/meson.build", "'a.c'")
        self.header("base/a.h")
        self.source("")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def header(self, path, includes=""):
        guard = "PENSTOCK_" + path.upper().replace("/", "_").replace(".", "_")
        text = HEADER.format(name=path.rsplit("/", 1)[-1], guard=guard)
        self.write(f"src/{path}", text.replace("int f", f"{includes}\nint f"))

    def source(self, body, path="base/a.c"):
        self.write(f"src/{path}", body)

    def check(self, tool):
        done = subprocess.run([sys.executable, TOOLS / f"check_{tool}.py", "--root", self.root],
                              capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        bad = [line.split(" - ", 1)[1] for line in done.stdout.splitlines() if line[:6] == "not ok"]
        assert (done.returncode == 1) == bool(bad)
        return bad


@pytest.fixture(name="house")
def fixture_house(tmp_path):
    return House(tmp_path)


def test_a_good_house_passes(house):
    house.header("json/b.h", '#include "base/a.h"')
    assert house.check("floors") == []
    assert house.check("style") == []


@pytest.mark.parametrize("path, includes, rule", [
    ("base/b.h", '#include "json/j.h"', "no include goes up"),
    ("base/b.h", '  #  include "cli/c.h"', "no include goes up"),
    ("json/b.h", '#include "main.h"', "no include goes up"),
    ("json/b.h", '#include "text/t.h"', "no include goes sideways undeclared"),
    ("json/b.h", '#include "j.h"', "every quoted include is named from src/ on"),
    ("json/b.h", '#include "../base/a.h"', "every quoted include is named from src/ on"),
    ("cellar/b.h", "", "every file is in a room of the table"),
])
def test_floors(house, path, includes, rule):
    for name in ("json/j.h", "text/t.h", "cli/c.h", "main.h"):
        house.header(name)
    house.header(path, includes)
    assert house.check("floors") == [rule]


def test_a_declared_arrow_sideways_is_allowed(house):
    house.header("text/t.h")
    house.header("json/b.h", '#include "text/t.h"')
    house.write("ARCHITECTURE.md", TABLE + "| `src/json/` | `src/text/` | names |\n")
    assert house.check("floors") == []
    house.header("json/b.h")  # the same arrow the other way round
    house.header("text/t.h", '#include "json/j.h"')
    house.header("json/j.h")
    assert house.check("floors") == ["no include goes sideways undeclared"]


def test_circles(house):
    house.header("json/b.h", '#include "json/c.h"')
    house.header("json/c.h", '#include "json/d.h"')
    house.header("json/d.h", '#include "json/b.h"')
    assert house.check("floors") == ["no circle among files"]
    house.header("json/d.h", '#include "text/e.h"')
    house.header("text/e.h")
    house.header("text/f.h", '#include "json/g.h"')
    house.header("json/g.h")
    arrows = "| `src/json/` | `src/text/` | x |\n| `src/text/` | `src/json/` | y |\n"
    house.write("ARCHITECTURE.md", TABLE + arrows)
    assert house.check("floors") == ["no circle among rooms"]


def test_a_text_without_a_table_fails(house):
    house.write("ARCHITECTURE.md", "# nothing\n")
    assert "ARCHITECTURE.md has a table of floors" in house.check("floors")


def function(lines):
    return "int f(int a,\n      int b)\n{\n" + "    a++;\n" * (lines - 4) + "}\n"


def test_long_functions(house):
    rule = "functions have at most 70 lines"
    house.source(function(70))
    assert house.check("style") == []
    house.source("static int g;\n\n" + function(71))
    assert house.check("style") == [rule]
    house.write("tools/style_ratchet.txt", "# why\nsrc/base/a.c f 71\n")
    assert house.check("style") == []
    house.source(function(72))
    assert house.check("style") == [rule]
    house.source(function(60))  # the row is not needed any more
    assert house.check("style") == [rule]


def test_long_files(house):
    house.source("int a;\n" * 800)
    assert house.check("style") == []
    house.source("int a;\n" * 801)
    assert house.check("style") == ["files have at most 800 lines"]


@pytest.mark.parametrize("old, new, rule", [
    ("/* a.h -- a thing.", "/* b.h -- a thing.", "every header opens with its contract"),
    ("/* a.h -- a thing.", "\n/* a.h -- a thing.", "every header opens with its contract"),
    ("Suspends:", "Sleeps:", "every header opens with its contract"),
    ("Threads:", "Tasks:", "every header opens with its contract"),
    ("PENSTOCK_BASE_A_H", "BASE_A_H", "include guards are named after their file"),
    ("#define PENSTOCK_BASE_A_H", "#define PENSTOCK_BASE_B_H",
     "include guards are named after their file"),
])
def test_headers(house, old, new, rule):
    file = house.root / "src/base/a.h"
    file.write_text(file.read_text().replace(old, new))
    assert house.check("style") == [rule]


@pytest.mark.parametrize("line, is_bad", [
    ("strcpy(a, b);", True), ("sprintf (a, b);", True), ("x = malloc(3);", True), ("free(p);", True),
    ("alloca(n);", True), ("n = atoi(s);", True), ("printf(x);", True), ("system(x);", True),
    ("execve(a, b, c);", True), ("assert(x);", True), ("rand();", True), ("strtok(a, b);", True),
    ("snprintf(a, n, b);", False), ("mem_free(p);", False), ("door.free(p);", False),
    ("door->free(p);", False), ('say("free(p)");', False), ("/* free(p) */", False),
    ("// gets(p)", False), ("static_assert(1, x);", False), ("char c = '\"'; free(p);", True),
    ("free(p); /* Rule Zero: the library allocated it. */", False),
    ("/* Rule Zero: the library allocated it. */\n    free(p);", False),
])
def test_banned_calls(house, line, is_bad):
    house.source(f"void g(void)\n{{\n    {line}\n}}\n")
    assert house.check("style") == (["no banned call"] if is_bad else [])


def test_a_call_is_allowed_in_its_place(house):
    house.write("src/base/meson.build", "'a.c' 'mem.c'")
    house.write("src/cli/meson.build", "'c.c'")
    house.source("void g(void)\n{\n    free(0);\n}\n", "base/mem.c")
    house.source("void g(void)\n{\n    printf(0);\n    execve(0, 0, 0);\n}\n", "cli/c.c")
    assert house.check("style") == []


def test_unfinished_work(house):
    house.source("/* TO" + "DO: later */\n")
    assert house.check("style") == ["nothing is left unfinished"]


def test_a_source_that_is_not_built(house):
    house.source("int x;\n", "base/lost.c")
    assert house.check("style") == ["every source is built"]
