#!/usr/bin/env python3
"""What clang-format cannot see: lengths, contracts, guards, banned calls, unfinished work.

A banned call passes where a comment on its line or the line before says "Rule Zero:" and why.
tools/style_ratchet.txt holds functions that were too long when they came: "PATH FUNCTION LINES".
They may shrink, not grow, and a row that is no longer needed must go.
"""

import argparse
import pathlib
import re

from tap import Tap

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800

ALWAYS = "use something bounded"
MEMORY = "memory comes from base/mem.h or an arena"
BLOCKS = "it blocks the thread"

# name -> (the paths below src/ that may call it, what is wrong with it elsewhere)
BANNED = {}
for names, allowed, why in [
    ("strcpy strncpy strcat strncat stpcpy sprintf vsprintf gets strtok", (), ALWAYS),
    ("alloca strdupa", (), "a fiber's stack is small"),
    ("atoi atol atoll atof", (), "it cannot tell a failure"),
    ("malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf posix_memalign"
     " aligned_alloc", ("base/mem.c",), MEMORY),
    ("printf fprintf vprintf vfprintf puts fputs putchar perror", ("cli/", "main.c"),
     "only the command line prints; the rest logs"),
    ("rand srand random drand48", (), "use random_u64 or sys.random"),
    ("system popen", (), "nothing is run through a shell"),
    ("execl execlp execle execv execvp execve execvpe fexecve", ("cli/",),
     "only the command line starts programs"),
    ("setjmp longjmp sigsetjmp siglongjmp", (), "a jump leaves a fiber's stack behind"),
    ("getaddrinfo gethostbyname sleep usleep", ("cli/",), BLOCKS),
    ("localtime gmtime ctime asctime inet_ntoa", (), "it answers in static memory"),
    ("assert", (), "use ASSERT"),
]:
    for name in names.split():
        BANNED[name] = (allowed, why)

CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


class Source:
    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.text = path.read_text(errors="replace")
        self.lines = self.text.splitlines()
        # The same lines without comments and the insides of strings.
        self.code = TOKENS.sub(self._blank, self.text).splitlines()
        self.comments = [m.group() for m in TOKENS.finditer(self.text) if m.group()[0] == "/"]

    @staticmethod
    def _blank(match):
        token = match.group()
        return re.sub(r"[^\n]", " ", token) if token[0] == "/" else token[0] * 2

    def functions(self):
        """(line, name, lines) of every function: clang-format puts both braces in column 0."""
        start = None
        for number, line in enumerate(self.code, 1):
            if line.rstrip() == "{" and number > 1:
                start = number - 1
                while start > 1 and re.match(r"\S|\s+\S", self.code[start - 2]) and \
                        not re.search(r"[;}]\s*$|^#", self.code[start - 2]):
                    start -= 1
            elif line.rstrip() == "}" and start:
                head = " ".join(self.code[start - 1:number])
                match = re.search(r"(\w+)\s*\(", head)
                yield start, match.group(1) if match else "?", number - start + 1
                start = None


def check_functions(sources, ratchet):
    findings, used = [], set()
    for source in sources:
        for line, name, lines in source.functions():
            allowed = ratchet.get((source.path, name))
            if lines > FUNCTION_LINES_MAX and allowed:
                used.add((source.path, name))
            if lines > (allowed or FUNCTION_LINES_MAX):
                findings.append(f"{source.path}:{line}: {name} has {lines} lines, "
                                f"{allowed or FUNCTION_LINES_MAX} are allowed")
    stale = [f"tools/style_ratchet.txt: {path} {name} is not needed any more"
             for path, name in ratchet if (path, name) not in used]
    return findings + stale


def check_contract(source):
    """The block that opens a header; see any of base/*.h."""
    name = source.path.rsplit("/", 1)[-1]
    if not source.text.startswith(f"/* {name} -- "):
        return [f'{source.path}:1: does not open with "/* {name} -- what it is"']
    block = source.comments[0]
    has_functions = re.search(r"^\w[\w *]*\(", "\n".join(source.code), re.M)
    wanted = ["Suspends:", "Threads:"] if has_functions else []
    missing = [word for word in wanted if word not in block]
    if not re.search(r"^ \* (Why|Owns):", block, re.M):
        missing.append("Why: or Owns:")
    return [f"{source.path}:1: the contract does not say {word}" for word in missing]


def check_guard(source):
    parts = source.path.removeprefix("src/").removesuffix(".h").split("/")
    guard = "PENSTOCK_" + "_".join(parts).upper().replace("-", "_") + "_H"
    lines = [line.strip() for line in source.code if line.strip()]
    if lines[:2] == [f"#ifndef {guard}", f"#define {guard}"] and lines[-1] == "#endif":
        return []
    return [f"{source.path}: the include guard is not {guard}"]


def check_calls(source):
    findings = []
    for number, line in enumerate(source.code, 1):
        for match in CALL.finditer(line):
            allowed, why = BANNED[match.group(1)]
            if source.path.removeprefix("src/").startswith(allowed or ("\0",)):
                continue
            if "Rule Zero:" in "\n".join(source.lines[max(0, number - 2):number]):
                continue
            findings.append(f"{source.path}:{number}: {match.group(1)}: {why}")
    return findings


def check_listed(root, sources):
    """A source that no meson.build names is dead."""
    findings = []
    for source in sources:
        folder = (root / source.path).parent
        if not source.path.endswith(".c"):
            continue
        lists = [folder / "meson.build", folder.parent / "meson.build"]
        text = "".join(file.read_text() for file in lists if file.exists())
        if f"{(root / source.path).name}'" not in text:
            findings.append(f"{source.path}: is in no meson.build")
    return findings


def report_comments(sources):
    """The share of comment lines among lines that are not blank, by room."""
    shares = {}
    for source in sources:
        room = "/".join(source.path.split("/")[:2])
        comment = sum(len(text.splitlines()) for text in source.comments)
        lines = sum(1 for line in source.lines if line.strip())
        total = shares.setdefault(room, [0, 0])
        total[0] += comment
        total[1] += lines
    everything = [sum(values) for values in zip(*shares.values())] or [0, 0]
    for room, (comment, lines) in [*sorted(shares.items()), ("all", everything)]:
        print(f"# comments: {room}: {100 * comment // max(lines, 1)} % of {lines} lines")


def read_ratchet(root):
    file = root / "tools" / "style_ratchet.txt"
    rows = file.read_text().splitlines() if file.exists() else []
    return {(path, name): int(lines) for path, name, lines in
            (row.split() for row in rows if row.strip() and not row.startswith("#"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    every = [Source(root, path) for folder in ("src", "tests", "bench")
             for path in sorted((root / folder).rglob("*.[ch]"))]
    house = [source for source in every if source.path.startswith("src/")]
    headers = [source for source in house if source.path.endswith(".h")]
    tap = Tap()
    tap.rule(f"functions have at most {FUNCTION_LINES_MAX} lines",
             check_functions(every, read_ratchet(root)))
    tap.rule(f"files have at most {FILE_LINES_MAX} lines",
             [f"{s.path}: {len(s.lines)} lines" for s in every if len(s.lines) > FILE_LINES_MAX])
    tap.rule("every header opens with its contract",
             [f for s in headers for f in check_contract(s)])
    tap.rule("include guards are named after their file", [f for s in headers for f in check_guard(s)])
    tap.rule("no banned call", [f for s in house for f in check_calls(s)])
    tap.rule("nothing is left unfinished",
             [f"{s.path}:{n}: {line.strip()}" for s in every for n, line in enumerate(s.lines, 1)
              if UNFINISHED.search(line)])
    tap.rule("every source is built", check_listed(root, house))
    report_comments(house)
    tap.done()


if __name__ == "__main__":
    main()
