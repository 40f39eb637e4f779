"""The manual says what the source says: reference, errors, metrics, record, bounds, links."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "bench/README.md"])


def rows(page, first_word):
    """The cells of a table's rows: the table whose head begins with first_word."""
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(rf"\| {first_word} \|", line):
            found = []
            for row in lines[number + 2:]:
                if not row.startswith("|"):
                    break
                found.append([cell.strip() for cell in row.strip("|").split(" | ")])
            return found
    raise AssertionError(f"{page.name} has no table that begins with {first_word}")


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def binary():
    for path in (os.environ.get("PENSTOCK_BINARY"), "build/penstock", "build-gcc/penstock",
                 "build-clang/penstock"):
        if path and (ROOT / path).exists():
            return ROOT / path
    return pytest.skip("no penstock is built")


def test_configuration_is_what_the_command_prints():
    done = subprocess.run([binary(), "config", "reference"], capture_output=True, text=True,
                          check=True)
    assert (DOCS / "configuration.md").read_text() == done.stdout, \
        "make it anew: build/penstock config reference > docs/configuration.md"


def errors():
    """(status, code, type) of every row of err.def that may reach a caller."""
    text = (ROOT / "src/base/err.def").read_text()
    found = set(re.findall(r'^X\(\w+, (\d+), "(\w+)", "(\w+)",', text, re.M))
    assert len(found) > 20
    return {(status, code, kind) for status, kind, code in found}


def test_errors():
    said = [(cells[0], words(cells[1])[0], words(cells[2])[0])
            for cells in rows(DOCS / "http.md", "status")]
    assert len(said) == len(set(said))
    assert set(said) == errors()


def metrics():
    """name -> type of all that metrics.c renders."""
    source = (ROOT / "src/watch/metrics.c").read_text()
    found = dict(re.findall(r'(?:header|one)\((?:r->)?out, "(\w+)",\s+"(\w+)"', source))
    found |= dict.fromkeys(re.findall(r'\{"(\w+_seconds)", "', source), "histogram")
    gauges = (ROOT / "src/watch/gauges.def").read_text()
    found |= dict(re.findall(r'^X\((\w+), "(\w+)"', gauges, re.M))
    assert "requests_total" in found and "stage_seconds" in found and "fibers" in found
    return {f"penstock_{name}": kind for name, kind in found.items()}


def test_metrics():
    assert {words(cells[0])[0]: cells[1]
            for cells in rows(DOCS / "operations.md", "metric")} == metrics()


def test_record():
    line = next(line for line in (DOCS / "operations.md").read_text().splitlines()
                if line.strip().startswith('{"id":'))
    source = (ROOT / "src/watch/record.c").read_text()
    written = set(re.findall(r'\\"(\w+)\\":', source)) | \
        set(re.findall(r'(?:TEXT|WORD|NUMBER|MS)\(&?l, "(\w+)"', source))
    said = {word for cells in rows(DOCS / "operations.md", "word") for word in words(cells[0])}
    of_attempts = {"outcome", "ms"}
    assert said == written - of_attempts - {"name"}  # which is a comment's
    assert set(re.findall(r'"(\w+)":', line)) == said | of_attempts


@pytest.mark.parametrize("name, what, text", [
    ("HTTP_TARGET_MAX", "request target", "8 KiB"),
    ("HTTP_HEAD_MAX", "head of", "32 KiB"),
    ("HTTP_FIELDS_MAX", "head of", "100 fields"),
    ("HTTP_CHUNK_LINE_MAX", "a chunk's line", "256 bytes"),
    ("HTTP_TRAILER_MAX", "a chunk's line", "8 KiB"),
    ("JSON_DEPTH_MAX", "depth of JSON", "128"),
    ("SSE_EVENT_MAX", "one event", "4 MiB"),
    ("H2_STREAMS_MAX", "HTTP/2 streams", "128"),
])
def test_bounds(name, what, text):
    limits = (ROOT / "src/base/limits.h").read_text()
    value = 1
    for factor in re.search(rf"\b{name} = ([\d *]+),", limits)[1].split("*"):
        value *= int(factor)
    number, _, unit = text.partition(" ")
    assert value == int(number) * {"KiB": 1024, "MiB": 1024 * 1024}.get(unit, 1)
    said, = [cells[1] for cells in rows(DOCS / "http.md", "what") if cells[0].startswith(what)]
    assert text in said


def anchors(page):
    """As GitHub makes them from headings."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_examples_of_configuration_are_valid(tmp_path):
    """Every YAML block that is a whole configuration passes the check."""
    names = "OPENAI_API_KEY MY_KEY SEARCH_KEY SEARCH_DEV_KEY PENSTOCK_ADMIN_KEY".split()
    environment = {name: f"k7f0a3c9d2e84b6{number}" for number, name in enumerate(names)}
    count = 0
    for page in (ROOT / "README.md", DOCS / "getting-started.md", DOCS / "operations.md"):
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
            file = tmp_path / "penstock.yaml"
            file.write_text(block)
            done = subprocess.run([binary(), "check", "-c", file], capture_output=True, text=True,
                                  env=environment, check=False)
            assert done.returncode == 0, f"{page.name}: {done.stderr}"
            count += 1
    assert count >= 3


def test_examples_of_python_compile():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            compile(block, page.name, "exec")
