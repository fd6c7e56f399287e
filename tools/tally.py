#!/usr/bin/env python3
"""Print "N passed, N failed[, N skipped]" for one or more runs of `meson test`.

    tally.py BUILD_DIR/meson-logs/testlog.json ...

Our test programs end in such a line themselves, so what is counted are the checks inside them; a program without one
counts as one. A program that was killed, timed out or returned non-zero is at least one failure whatever it printed.
"""
import json
import re
import sys

LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)


def counts(test):
    """(passed, failed, skipped) of one program's record in Meson's log."""
    lines = LINE.findall(test.get("stdout", "") or "")
    passed, failed, skipped = (int(n or 0) for n in lines[-1]) if lines else (0, 0, 0)
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        return (passed, failed, skipped) if lines else (1, 0, 0)
    if test["result"] == "SKIP":
        return passed, failed, max(skipped, 1)
    return passed, max(failed, 1), skipped


def main():
    total = [0, 0, 0]
    for path in sys.argv[1:]:
        with open(path, encoding="utf8") as log:
            for line in log:
                total = [a + b for a, b in zip(total, counts(json.loads(line)))]
    print(f"{total[0]} passed, {total[1]} failed" + (f", {total[2]} skipped" if total[2] else ""))


if __name__ == "__main__":
    main()
