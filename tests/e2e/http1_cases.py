"""Reads tests/http1_cases.txt, the table that tests/unit/test_h1.c reads too."""

import re
from typing import NamedTuple

from gateway import ROOT


class Case(NamedTuple):
    name: str
    outcomes: list
    data: bytes

    @property
    def is_refused(self):
        """At its first request."""
        return len(self.outcomes) == 1 and re.match(r"[45]\d\d close", self.outcomes[0])


ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t"}


def unescape(text):
    """The bytes that the text stands for: \\r \\n \\t \\\\ \\xHH and \\{COUNT,BYTES}."""
    out, at = b"", 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode("latin-1")
            at += 1
        elif text[at + 1] == "{":
            end = text.index("}", at)
            count, repeated = text[at + 2:end].split(",", 1)
            out += unescape(repeated) * int(count)
            at = end + 1
        elif text[at + 1] == "x":
            out += bytes.fromhex(text[at + 2:at + 4])
            at += 4
        else:
            out += ESCAPES.get(text[at + 1], text[at + 1].encode())
            at += 2
    return out


def read_cases():
    text = (ROOT / "tests" / "http1_cases.txt").read_text(encoding="latin-1")
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            name, outcomes, _, data = line.split(" | ", 3)
            yield Case(name, outcomes.split(", "), unescape(data))


CASES = list(read_cases())
