"""The table of scripts/coverage: lines and branches that have run, by folder, from the JSON of gcovr.

    python3 scripts/coverage_table.py COVERAGE.json MISSED.txt

A branch is a way out of a condition, each of && and || too. Not asked are those of CHECK() and of the macros of uthash: the first can
only be taken by a defect and ends the process, the second are a library's. Nothing else is left out, failing memory neither.
Ends with 1 when a figure is under its limit.
"""
import json
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACROS = re.compile(r"\b(?:CHECK|HASH_(?:ADD|DEL|FIND|ITER)\w*)\(")
MONEY = ("src/base/decimal.c", "src/core/budget.c", "src/core/cost.c", "src/core/price.c", "src/core/price_find.c", "src/core/usage.c",
         "src/core/estimate.c")
LIMITS = {"all": ("lines", 90.0), "auth": ("branches", 90.0), "ingest": ("branches", 90.0), "money": ("branches", 90.0)}


def unasked_lines(source):
    """Numbers of the lines that a use of one of the macros covers."""
    text = source.read_text()
    for use in MACROS.finditer(text):
        at, open_ones = use.end(), 1
        while open_ones > 0:
            open_ones += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield from range(text.count("\n", 0, use.start()) + 1, text.count("\n", 0, at) + 2)


def rows_of(path):
    """The rows of the table that a file counts in."""
    folder = path.split("/")[1]
    return ["all", folder if "." not in folder else "app", *(["money"] if path in MONEY else [])]


def percentage(counts, what):
    return 100.0 * counts[f"{what} run"] / counts[what] if counts[what] else 100.0


def main():
    rows, missed = {}, []
    for file in json.loads(Path(sys.argv[1]).read_text())["files"]:
        path = file["file"]
        source = (ROOT / path).read_text().split("\n")
        unasked = set(unasked_lines(ROOT / path))
        counts = Counter()
        for line in file["lines"]:
            if line.get("gcovr/noncode"):
                continue
            number = line["line_number"]
            branches = [] if number in unasked else line["branches"]
            untaken = sum(b["count"] == 0 for b in branches)
            counts.update({"lines": 1, "lines run": line["count"] > 0, "branches": len(branches), "branches run": len(branches) - untaken})
            if line["count"] == 0 or untaken:
                what = "not run" if line["count"] == 0 else f"{untaken} of {len(branches)} branches not taken"
                missed.append(f"{path}:{number}: {what}: {source[number - 1].strip()}")
        for row in rows_of(path):
            rows.setdefault(row, Counter()).update(counts)
    Path(sys.argv[2]).write_text("".join(f"{m}\n" for m in missed))
    print(f"{'src/':12}{'lines':>8}{'run':>9}{'branches':>10}{'taken':>9}")
    under = []
    for row in sorted(rows, key=lambda r: (r == "all", r == "money", r)):
        counts = rows[row]
        print(f"{row:12}{counts['lines']:8}{percentage(counts, 'lines'):8.1f}%{counts['branches']:10}{percentage(counts, 'branches'):8.1f}%")
        what, limit = LIMITS.get(row, ("lines", 0.0))
        if percentage(counts, what) < limit:
            under.append(f"{row}: {what} under {limit} %")
    for text in under:
        print(f"FAIL {text}")
    return len(under) != 0


if __name__ == "__main__":
    sys.exit(main())
