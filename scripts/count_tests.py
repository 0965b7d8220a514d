"""Prints "<passed> <failed>" of a JUnit file of ctest or pytest. A Check program counts with the number of its tests."""
import re
import sys
import xml.etree.ElementTree as ET

CHECKS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$", re.MULTILINE)


def count(case):
    """Tests passed and failed of one testcase element."""
    bad = case.find("failure") is not None or case.find("error") is not None or case.get("status") in ("fail", "disabled")
    if case.find("skipped") is not None or case.get("status") == "notrun":
        return 0, 1  # nothing here may be skipped
    found = CHECKS.findall(case.findtext("system-out") or "")
    if not found:
        return (0, 1) if bad else (1, 0)
    total = sum(int(c) for c, _, _ in found)
    wrong = sum(int(f) + int(e) for _, f, e in found)
    if bad and wrong == 0:
        wrong, total = 1, total + 1  # it broke outside its tests: a leak, a signal
    return total - wrong, wrong


def main():
    cases = list(ET.parse(sys.argv[1]).getroot().iter("testcase"))
    if not cases:
        sys.exit("no test ran")
    counts = [count(c) for c in cases]
    print(sum(p for p, _ in counts), sum(f for _, f in counts))


main()
