#!/usr/bin/env python3
"""The house stands: a file includes its own room and the floors below, nothing else.

The floors are read from the table in ARCHITECTURE.md, so that the text and the check cannot differ.
Arrows between rooms of one floor are allowed where the table "from | to | why" there says so.
"""

import argparse
import pathlib
import re
import sys

from tap import Tap

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
ROOM = re.compile(r"`src/([a-z0-9_]+)(?:\.c|/)`")


class Floors:
    def __init__(self, text):
        self.floor = {}  # room -> number; "main" is src/main.c
        self.sideways = set()  # (from, to)
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) < 3 or not line.lstrip().startswith("|"):
                continue
            rooms = ROOM.findall(cells[0])
            if cells[0].isdigit():
                for room in ROOM.findall(cells[1]):
                    self.floor[room] = int(cells[0])
            elif rooms and ROOM.findall(cells[1]):
                self.sideways.add((rooms[0], ROOM.findall(cells[1])[0]))


def room_of(path):
    """The room of a path below src/: its first folder, or the file's own name."""
    first, _, rest = path.partition("/")
    return first if rest else pathlib.PurePosixPath(first).stem


def read_includes(src):
    """path -> [(line number, included path)], all relative to src."""
    graph = {}
    for file in sorted(src.rglob("*")):
        if file.suffix not in (".c", ".h", ".def", ".inc", ".S"):
            continue
        rows = []
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                rows.append((number, match.group(1)))
        graph[file.relative_to(src).as_posix()] = rows
    return graph


def check_places(graph, floors):
    """Every file is in a room of the table; every include names a file from src/ on."""
    lost, unknown = [], []
    for path, rows in graph.items():
        if room_of(path) not in floors.floor:
            unknown.append(f"src/{path}: room {room_of(path)} has no floor in ARCHITECTURE.md")
        for number, target in rows:
            if target not in graph:
                lost.append(f'src/{path}:{number}: "{target}" is no file below src/')
    return unknown, lost


def check_arrows(graph, floors):
    up, sideways = [], []
    for path, rows in graph.items():
        here = room_of(path)
        for number, target in rows:
            there = room_of(target)
            if here == there or here not in floors.floor or there not in floors.floor:
                continue
            place = f'src/{path}:{number}: "{target}"'
            rise = floors.floor[there] - floors.floor[here]
            if rise > 0:
                up.append(f"{place} is {rise} floor(s) up from {here}")
            elif rise == 0 and (here, there) not in floors.sideways:
                sideways.append(f"{place} is on the same floor as {here}")
    return up, sideways


def find_circle(edges):
    """One circle as a list of names, or None. edges: name -> names."""
    state, stack = {}, []

    def visit(name):
        state[name] = "open"
        stack.append(name)
        for other in sorted(edges.get(name, ())):
            if state.get(other) == "open":
                return stack[stack.index(other):] + [other]
            if other not in state:
                circle = visit(other)
                if circle:
                    return circle
        stack.pop()
        state[name] = "done"
        return None

    for name in sorted(edges):
        if name not in state:
            circle = visit(name)
            if circle:
                return circle
    return None


def check_circles(graph):
    files = {path: {t for _, t in rows if t in graph} for path, rows in graph.items()}
    rooms = {}
    for path, targets in files.items():
        others = {room_of(target) for target in targets} - {room_of(path)}
        rooms.setdefault(room_of(path), set()).update(others)
    circles = [find_circle(files), find_circle(rooms)]
    return [[" -> ".join(circle)] if circle else [] for circle in circles]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root
    sys.setrecursionlimit(10000)
    floors = Floors((root / "ARCHITECTURE.md").read_text())
    graph = read_includes(root / "src")
    tap = Tap()
    tap.rule("ARCHITECTURE.md has a table of floors",
             [] if floors.floor else ["no row of the table was understood"])
    unknown, lost = check_places(graph, floors)
    tap.rule("every file is in a room of the table", unknown)
    tap.rule("every quoted include is named from src/ on", lost)
    up, sideways = check_arrows(graph, floors)
    tap.rule("no include goes up", up)
    tap.rule("no include goes sideways undeclared", sideways)
    files, rooms = check_circles(graph)
    tap.rule("no circle among files", files)
    tap.rule("no circle among rooms", rooms)
    tap.done()


if __name__ == "__main__":
    main()
