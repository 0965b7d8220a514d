"""llmlab import against servers in every mood, and the change of signing keys."""
import http.server
import json
import re
import subprocess
import threading
import time
from decimal import Decimal

import pytest

from llmlab_client import Client, sign_up
from llmlab_server import environment, find_binary, new_secret


def run(*arguments, cwd, stdin="", seconds=60, **settings):
    return subprocess.run([find_binary(), *arguments], env=environment(**settings), cwd=cwd, input=stdin, text=True,
                          capture_output=True, timeout=seconds, check=False)


def import_file(client, path, *options, **more):
    return run("import", str(path), "--url", f"http://127.0.0.1:{client.port}", *options, cwd=path.parent,
               LLMLAB_KEY=client.token, **more)


def summary(done):
    """The last line of an import as numbers: rows, stored, duplicates, rejected, unpriced, cost."""
    found = re.fullmatch(r"(\d+) rows: (\d+) stored, (\d+) duplicates, (\d+) rejected, (\d+) without a price; "
                         r"total cost ([\d.]+) USD", done.stdout.strip().splitlines()[-1])
    assert found, done
    return tuple(int(n) for n in found.groups()[:5]) + (Decimal(found[6]),)


# gpt-4: 30 USD a million in, 60 out. (4808 + 3180 + 110) x 0.00003 = 0.24294; (10 + 8 + 27) x 0.00006 = 0.0027; in all 0.24564
CSV = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0781350,110,27
"""
GPT_4 = ("--provider", "openai", "--model", "gpt-4")


def test_import_longer_file_stores_only_what_is_new(user, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text(CSV)
    assert import_file(user, path, *GPT_4).returncode == 0
    path.write_text(CSV + "2023-11-16 18:17:05,1000,0\n")
    again = import_file(user, path, *GPT_4)
    assert summary(again) == (4, 1, 3, 0, 0, Decimal("0.27564"))


def test_import_ndjson_keeps_digits_and_keys(user, tmp_path):
    path = tmp_path / "calls.ndjson"
    path.write_text('{"model":"m","provider":"own","cost":0.000000000000000001,"idempotency_key":"k"}\n'
                    '{"model":"m","provider":"own","cost":1}\n')
    done = import_file(user, path)
    assert done.returncode == 0, done
    assert summary(done) == (2, 2, 0, 0, 0, Decimal("1.000000000000000001"))
    assert user.track(status=200, model="m", provider="own", cost=Decimal("0.000000000000000001"),
                      idempotency_key="k")["duplicate"] is True


def test_import_from_standard_input_works(user, tmp_path):
    done = run("import", "-", "--url", f"http://127.0.0.1:{user.port}", *GPT_4, cwd=tmp_path, stdin=CSV,
               LLMLAB_KEY=user.token)
    assert summary(done)[:2] == (3, 3), done


def test_import_unpriced_rows_are_counted_apart(user, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("input_tokens,model\n1,no-such-model-at-all\n")
    assert summary(import_file(user, path, "--provider", "openai")) == (1, 1, 0, 0, 1, Decimal(0))


class Moody(http.server.BaseHTTPRequestHandler):
    """Answers with what its server's script says, one after the other; a result for every line at the end."""

    def do_POST(self):
        lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        self.server.bodies.append([json.loads(line) for line in lines])
        status, headers, results = self.server.script.pop(0)
        if results is None:
            body = json.dumps({"detail": "not now"}).encode()
        else:
            body = json.dumps({"results": [dict(r, index=i) for i, r in enumerate(results)]}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def moody():
    server = http.server.HTTPServer(("127.0.0.1", 0), Moody)
    server.script, server.bodies = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


STORED = {"event_id": "e", "cost": 1, "pricing_status": "priced", "duplicate": False}


def test_import_busy_server_is_waited_for_as_it_asks(moody, tmp_path):
    moody.script = [(503, {"Retry-After": "1"}, None), (429, {"Retry-After": "1"}, None), (200, {}, [STORED] * 3)]
    path = tmp_path / "calls.csv"
    path.write_text(CSV)
    begun = time.monotonic()
    done = import_file(Client(moody.server_port, "t"), path, *GPT_4)
    assert time.monotonic() - begun >= 2
    assert done.returncode == 0, done
    assert summary(done) == (3, 3, 0, 0, 0, Decimal(3))
    assert moody.bodies[0] == moody.bodies[1] == moody.bodies[2]


def test_import_only_rows_not_taken_are_sent_again(moody, tmp_path):
    away = {"error": {"code": "database_unavailable", "detail": "d", "errors": []}}
    moody.script = [(200, {}, [STORED, away, STORED]), (200, {}, [STORED])]
    path = tmp_path / "calls.csv"
    path.write_text(CSV)
    done = import_file(Client(moody.server_port, "t"), path, *GPT_4)
    assert done.returncode == 0, done
    assert summary(done) == (3, 3, 0, 0, 0, Decimal(3))
    assert moody.bodies[1] == [moody.bodies[0][1]]


def test_import_answer_that_leaves_doubt_is_an_error(moody, tmp_path):
    moody.script = [(200, {}, [STORED] * 2)]
    path = tmp_path / "calls.csv"
    path.write_text(CSV)
    done = import_file(Client(moody.server_port, "t"), path, *GPT_4)
    assert done.returncode == 1 and "not understood" in done.stderr
    assert summary(done)[1] == 0


def test_key_rotation_accepts_tokens_of_the_previous_key(own_server, postgres):
    url, old, new = postgres.create("rotation"), new_secret(), new_secret()
    one = own_server(DATABASE_URL=url, SECRET_KEY=old)
    one.start()
    user = sign_up(one.port)
    one.stop()
    two = own_server(DATABASE_URL=url, SECRET_KEY=new, SECRET_KEY_PREVIOUS=old)
    two.start()
    assert user.on(two.port).ok("GET", "/api/auth/me")["user_id"] == user.user_id
    two.stop()
    three = own_server(DATABASE_URL=url, SECRET_KEY=new)
    three.start()
    user.on(three.port).ok("GET", "/api/auth/me", status=401)
    user.close()
