"""What the checks share: TAP on standard output, one line a rule, the findings as comments."""

import sys


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def rule(self, name, findings):
        """One rule with everything that was found against it; none is a pass."""
        self.count += 1
        for finding in findings:
            print(f"# {finding}")
        print(f"{'not ok' if findings else 'ok'} {self.count} - {name}")
        self.failed += bool(findings)

    def done(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)
