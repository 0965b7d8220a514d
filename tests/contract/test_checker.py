"""The contract test can fail: exchanges that are not as described are told, those that are pass."""
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = {"user_id": "01890a5d-ac96-774b-bcce-b302099a8057", "email": "a@example.com", "name": "x", "timezone": "UTC",
           "created_at": "2026-01-01T00:00:00Z"}
TOKEN = {"access_token": "t", "token_type": "bearer", "expires_in": 1, "user_id": ACCOUNT["user_id"]}


def exchange(method="GET", target="/api/auth/me", status=200, answer=None, kind="application/json", body=None, **headers):
    text = json.dumps(ACCOUNT if answer is None else answer)
    sent = None if body is None else json.dumps(body)
    return {"method": method, "target": target, "headers": {"Content-Type": "application/json"} if sent else {}, "body": sent,
            "body_bytes": len(sent or ""), "status": status, "answer_headers": {"Content-Type": kind, **headers}, "answer": text,
            "answer_bytes": len(text), "test": "probe"}


def login(**more):
    return exchange("POST", **{"target": "/api/auth/login", "answer": TOKEN, "body": {"email": "a", "password": "b"}, **more})


def complaints(folder, one):
    (folder / "probe.jsonl").write_text(json.dumps(one) + "\n")
    done = subprocess.run(["node", "build/js/check_traffic.mjs", "docs/openapi.yaml", str(folder), "tests/contract/exceptions.json"],
                          cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr  # one exchange never shows everything
    return [line.strip() for line in done.stdout.splitlines() if "in probe)" in line]


@pytest.mark.parametrize("good", [exchange(), login(), exchange(target="/api/auth/me/"), exchange("OPTIONS", status=204)])
def test_exchange_as_described_passes(tmp_path, good):
    assert complaints(tmp_path, good) == []


@pytest.mark.parametrize("bad,expected", [
    (exchange(answer={**ACCOUNT, "more": 1}), "unevaluated properties: more"),
    (exchange(answer={k: v for k, v in ACCOUNT.items() if k != "email"}), "required property 'email'"),
    (exchange(answer={**ACCOUNT, "created_at": "yesterday"}), "format"),
    (exchange(status=418), "status 418 is not described"),
    (exchange(status=500), "status 500 is not described"),
    (exchange(kind="text/plain"), "in the media type text/plain"),
    (exchange(status=503, kind="application/problem+json", answer={}), "503 without the header Retry-After"),
    (exchange(target="/api/auth/me?x=1"), "accepted the parameter x=1"),
    (login(body={"email": "a", "password": "b", "otp": 1}), "additional properties: otp"),
    (login(body=None), "accepted without a body"),
    (exchange(target="/api/nothing"), "without an operation is answered 200")])
def test_exchange_not_as_described_is_told(tmp_path, bad, expected):
    found = complaints(tmp_path, bad)
    assert [line for line in found if expected in line], found
