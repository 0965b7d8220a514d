"""A TypeScript client made from docs/openapi.yaml compiles under the strictest rules and does its work on a real server. The tools
are in build/js (scripts/test puts them there)."""
import json
import subprocess
from pathlib import Path

import pytest

from llmlab_client import unique

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build/js"


def run(*command):
    done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compiled():
    run("node", "node_modules/openapi-typescript/bin/cli.js", str(ROOT / "docs/openapi.yaml"), "--default-non-nullable", "false",
        "-o", "api.d.ts")
    run("node", "node_modules/typescript/bin/tsc", "-p", "tsconfig.json")
    return TOOLS / "out/example.js"


def test_generated_client_signs_up_tracks_and_reads(compiled, server):
    said = json.loads(run("node", str(compiled), f"http://127.0.0.1:{server.port}", unique("typescript") + "@example.com"))
    assert said == {"cost": 0.06, "duplicate": True, "same": True, "total": 0.06, "calls": 1, "listed": [True],
                    "refused": 400, "field": "input_tokens"}
