"""The examples with curl in README.md and docs/*.md do what they say: each document is run from top to bottom in one shell against a server, and
every answer must be the one that is shown (support/examples.py says what may differ)."""
import os
import re
import shutil
import subprocess

import pytest

from examples import blocks, differences, examples, parse
from llmlab_client import dumps, loads
from llmlab_server import ROOT, environment, find_binary, make_folder

DOCUMENTS = {path: examples(path.read_text()) for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
WITH_EXAMPLES = [path for path, found in DOCUMENTS.items() if found]
END = "-- end --"


class Shell:
    """A bash that keeps its variables. Its curl tells the status on standard error."""

    def __init__(self):
        assert shutil.which("curl"), "curl is missing (see scripts/packages.txt)"
        self.process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, cwd=make_folder())
        self.run("curl() { command curl --max-time 60 --write-out '%{stderr}%{http_code}\\n' \"$@\"; }")

    def run(self, command):
        """(standard output, statuses)"""
        self.process.stdin.write(f"{command}\necho; echo '{END}'; echo '{END}' >&2\n")
        self.process.stdin.flush()
        return self._read(self.process.stdout), self._read(self.process.stderr).split()

    def _read(self, stream):
        text = ""
        for line in stream:
            if line == END + "\n":
                return text.strip()
            text += line
        raise AssertionError(f"the shell has ended: {text}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()


def run_document(found, port):
    """Runs the examples; what is not as shown, a line each."""
    shell, learned, wrong = Shell(), {}, []
    for example in found:
        command = example.command.replace("localhost:8000", f"localhost:{port}")
        for shown, real in learned.items():
            command = command.replace(shown, real)
        output, statuses = shell.run(command)
        place = f"line {example.line}"
        if any(status != str(example.status) if example.status else not status.startswith("2") for status in statuses) or (
                "curl " in command and not statuses):
            wrong.append(f"{place}: {statuses}, shown as {example.status or 'good'}: {output[:300]}")
        elif example.answer is not None:
            wrong += differences(example.answer, loads(output), place, learned)
    shell.close()
    return wrong


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_answer_as_shown(server, path):
    wrong = run_document(DOCUMENTS[path], server.port)
    assert not wrong, "\n".join([path.name, *wrong])


def shown_in(name, beginning):
    """The JSON of the block of a document that begins so."""
    found = [block for _, block in blocks((ROOT / name).read_text()) if block.startswith(beginning)]
    assert len(found) == 1, (name, beginning)
    return loads(found[0])


def test_shown_own_price_is_taken(user):
    user.ok("POST", "/api/pricing/overrides", shown_in("docs/pricing.md", '{"provider": "selfhosted"'), status=201)


def test_shown_simulation_is_made(user):
    body = shown_in("docs/recommendations.md", '{"changes"')
    for change in body["changes"]:
        user.track(model=change["model"], input_tokens=1000, output_tokens=10)
    assert len(user.ok("POST", "/api/recommendations/simulate", body)["models"]) == 2


def test_shown_provider_has_its_prices():
    """A million tokens in at 1.5 and as many out at 6."""
    file = make_folder() / "prices.json"
    file.write_text(dumps(shown_in("README.md", '{"mode": "extend"')))
    done = subprocess.run([find_binary(), "price", "acme-large", "--provider", "acme", "--input", "1000000", "--output", "1000000"], capture_output=True, text=True,
                          timeout=60, env=environment(LLMLAB_PRICING_FILE=file))
    assert done.returncode == 0 and re.search(r"\b7\.5\b", done.stdout), done


def test_changes_of_hacking_still_apply():
    assert shutil.which("patch"), "patch is missing (see scripts/packages.txt)"
    with open(ROOT / "docs/hacking.diff", encoding="utf-8") as changes:
        done = subprocess.run(["patch", "--dry-run", "--force", "-p1", "-d", ROOT], stdin=changes, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.count("checking file") == 11, done.stdout


def test_documents_have_their_examples():
    """So that a change of their form does not hide them."""
    count = {path.name: len([e for e in found if "curl " in e.command]) for path, found in DOCUMENTS.items()}
    answers = {path.name: len([e for e in found if e.answer is not None]) for path, found in DOCUMENTS.items()}
    assert count["README.md"] >= 6 and answers["README.md"] >= 5
    assert count["examples.md"] >= 20 and answers["examples.md"] >= 18


@pytest.mark.parametrize("real, wrong", [
    ({"a": 1, "b": [{"c": "x"}], "d": "2025-01-01"}, 0),
    ({"a": 2, "b": [{"c": "x"}], "d": "2025-01-02"}, 1),  # another number
    ({"a": "1", "b": [{"c": "x"}], "d": "2025-01-02"}, 1),  # another kind
    ({"a": 1, "b": [{"c": "x", "e": 1}], "d": "2025-01-02"}, 1),  # not shown, without an elision
    ({"a": 1, "b": [], "d": "2025-01-02"}, 1),
    ({"a": 1, "b": [{"c": "x"}], "d": "yesterday"}, 1),  # another form
    ({"b": [{"c": "x"}], "d": "2025-01-02", "f": None}, 1),  # missing
    ({"a": 1, "b": [{"c": "x"}], "d": "2025-01-02", "f": None}, 0),  # elided
])
def test_differences_are_seen(real, wrong):
    assert len(differences(parse('{"a":1, ... "b":[{"c":"x"}], "d":"2024-12-31"}'), real)) == wrong
