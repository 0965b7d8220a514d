"""The examples of the documents: commands with curl and the answers shown below them, taken out of the Markdown as they stand.

An example is an indented block that calls curl. The block after it is its answer if it begins with a status line (`HTTP/1.1 201 Created`) or with
`{`: JSON in which `...` stands for members or elements that are not shown. What is not elided must be there: an object without `...` has no other
members. Values must be equal; of what differs from run to run (ids, times, secrets: VOLATILE) only the form, and of figures that depend on the
day (OF_THE_DAY) only the kind.
"""
import re
from decimal import Decimal

from llmlab_client import loads

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VOLATILE = [re.compile(form) for form in (
    UUID, r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", r"[0-9a-f]{16}", r"[0-9a-f]{32}", r"eyJ[\w.-]+",
    r"llk_[\w-]+", r"whsec_[\w-]+")]
OF_THE_DAY = {"projected_spend", "expected", "interval_80", "interval_95", "probability_exceeded", "daily", "uptime_seconds"}
ELISION = object()
TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|\.\.\.|-?\d+(?:\.\d+)?|true|false|null|[{}\[\],:])')
STATUS_LINE = re.compile(r"HTTP/1\.1 (\d{3}) ?.*(?:\n|$)")


class Example:
    def __init__(self, command, line):
        self.command, self.line, self.status, self.answer = command, line, None, None


def blocks(text):
    """(number of the first line, text) of each run of indented lines that are no list items' continuation."""
    found, block, first, paragraph = [], [], 0, ""
    for number, line in enumerate(text.split("\n") + [""], 1):
        if line.startswith("    ") and line.strip() and (block or not paragraph):
            first = first if block else number
            block.append(line[4:])
            continue
        if block:
            found.append((first, "\n".join(block)))
            block = []
        paragraph = line.strip()
    return found


def examples(text):
    found, open_example = [], None
    for line, block in blocks(text):
        if re.search(r"\bcurl ", block):
            open_example = Example(block, line)
            found.append(open_example)
        elif open_example is not None and (block[0] in "{[" or STATUS_LINE.match(block)):
            status = STATUS_LINE.match(block)
            open_example.status = int(status[1]) if status else None
            shown = block[status.end():] if status else block
            open_example.answer = parse(shown) if shown else None
            open_example = None
        elif not re.fullmatch(r'\w+=(\S*|"[^"]*")', block):
            open_example = None
        else:
            found.append(Example(block, line))  # sets a variable of the shell
    return found


def parse(text):
    """JSON with elisions: objects are (members, complete), arrays (elements, complete)."""
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, f"no JSON: {text[at:at + 60]!r}"
        tokens.append(match[1])
        at = match.end()
    tokens.reverse()
    value = take(tokens)
    assert not tokens, f"more than one value: {tokens[-1]}"
    return value


def take(tokens):
    token = tokens.pop()
    if token == "...":
        return ELISION
    if token not in "{[":
        return loads(token)
    closing = "}" if token == "{" else "]"
    members, elements, complete = {}, [], True
    while tokens[-1] != closing:
        if tokens[-1] == ",":
            tokens.pop()
        elif tokens[-1] == "...":
            tokens.pop()
            complete = False
        elif token == "{":
            name = loads(tokens.pop())
            assert tokens.pop() == ":", name
            members[name] = take(tokens)
        else:
            elements.append(take(tokens))
    tokens.pop()
    return (members if token == "{" else elements, complete)


def kind(value):
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__
    return "number" if isinstance(value, (int, Decimal)) else type(value[0] if isinstance(value, tuple) else value).__name__


def form(text):
    return next((f for f in VOLATILE if f.fullmatch(text)), None)


def differences(shown, real, place="", learned=None):
    """What an answer has otherwise than it is shown, a line each. `learned` gets which id stands for which
    shown one: the same everywhere."""
    if shown is ELISION:
        return []
    if kind(shown) != kind(real):
        return [f"{place}: is {kind(real)}, shown as {kind(shown)}"]
    if isinstance(shown, tuple):
        return nested(shown, real, place, learned)
    if isinstance(shown, str) and form(shown):
        if not form(shown).fullmatch(real):
            return [f"{place}: {real!r} has not the form of {shown!r}"]
        if learned is None or not re.fullmatch(UUID, shown) or learned.setdefault(shown, real) == real:
            return []
        return [f"{place}: shown as that of another place, but it is another one"]
    return [] if shown == real else [f"{place}: is {real}, shown as {shown}"]


def followed(shown, real):
    """The elements of a longer array that are shown: for each the next one that is like it, else the next one."""
    found, rest = [], list(real)
    for element in shown:
        like = next((i for i, r in enumerate(rest) if not differences(element, r)), 0)
        found += rest[like:like + 1]
        rest = rest[like + 1:]
    return found


def nested(shown, real, place, learned):
    inside, complete = shown
    if isinstance(inside, list):
        found = [] if len(inside) == len(real) or (not complete and len(inside) < len(real)) else [
            f"{place}: {len(real)} elements, {len(inside)} shown"]
        pairs = [(f"{place}[{i}]", s, r) for i, (s, r) in enumerate(zip(inside, real if complete else followed(inside, real)))]
    else:
        found = [f"{place}.{name}: shown, but not there" for name in inside if name not in real]
        if complete:
            found += [f"{place}.{name}: there, but not shown" for name in real if name not in inside]
        pairs = [(f"{place}.{name}", s, real[name]) for name, s in inside.items() if name in real]
    for inner, s, r in pairs:
        if inner.rsplit(".", 1)[-1] in OF_THE_DAY and s is not ELISION and kind(s) == kind(r):
            continue
        found += differences(s, r, inner, learned)
    return found
