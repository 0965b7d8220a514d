"""llmlab import: real traces in, sums equal to an independent computation, and nothing twice."""
import csv
import json
import os
import re
import signal
import subprocess
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path

import pytest

from llmlab_server import environment, find_binary, make_folder, wait_for

DATA = Path(__file__).parent / "data"
CODE, CONV = DATA / "azure-llm-inference-2023-code.csv", DATA / "azure-llm-inference-2023-conv.csv"
# USD per million: in, out
PRICES = {"gpt-4": (D("30"), D("60")), "gpt-4o-mini": (D("0.15"), D("0.6"))}
SUMMARY = re.compile(r"(\d+) rows: (\d+) stored, (\d+) duplicates, (\d+) rejected, (\d+) without a price; total cost (\S+) USD")
RANGE = {"from": "2023-11-16", "to": "2023-11-16"}


def command(user, *arguments):
    return [find_binary(), "import", *map(str, arguments), "--url", f"http://127.0.0.1:{user.port}"]


def run(user, *arguments, stdin=None, **settings):
    done = subprocess.run(command(user, *arguments), env=environment(LLMLAB_KEY=user.token, **settings), input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, cwd=make_folder())
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr
    assert user.token.encode() not in done.stdout + done.stderr
    return done


def figures(done):
    found = SUMMARY.search(done.stdout.decode())
    assert found, (done.stdout, done.stderr)
    return [int(g) for g in found.groups()[:5]] + [D(found.group(6))]


def rows_of(path):
    with open(path, newline="") as f:
        return [(r["TIMESTAMP"], int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(f)]


def cost_of(rows, model):
    fresh, output = PRICES[model]
    return sum((D(i) * fresh + D(o) * output for _, i, o in rows), D(0)) / 10 ** 6


def test_import_of_real_traces_sums_to_the_digit_and_a_second_run_stores_nothing(user):
    expected = {}
    for path, model in ((CONV, "gpt-4"), (CODE, "gpt-4o-mini")):
        rows = rows_of(path)
        assert len(rows) == 300
        cost = expected[model] = cost_of(rows, model)
        first = run(user, path, "--provider", "openai", "--model", model)
        assert first.returncode == 0 and figures(first) == [300, 300, 0, 0, 0, cost]
        again = run(user, path, "--provider", "openai", "--model", model, "--batch", "7")
        assert again.returncode == 0 and figures(again) == [300, 0, 300, 0, 0, cost]
    summary = user.ok("GET", "/api/costs/summary", query=RANGE)
    assert summary["total_cost"] == sum(expected.values()) and summary["call_count"] == 600
    assert {m["model"]: m["total_cost"] for m in summary["by_model"]} == expected
    assert summary["total_tokens"] == sum(i + o for p in (CODE, CONV) for _, i, o in rows_of(p))
    assert [(d["date"], d["total_cost"]) for d in summary["by_date"]] == [("2023-11-16", sum(expected.values()))]


def test_import_by_day_of_a_zone_equals_the_independent_sums(user):
    """The trace's hour begins before and ends after 18:15 UTC, which is midnight in Kathmandu."""
    run(user, CONV, "--model", "gpt-4")
    summary = user.ok("GET", "/api/costs/summary", query={"from": "2023-11-16", "to": "2023-11-17", "tz": "Asia/Kathmandu"})
    split = {"2023-11-16": [], "2023-11-17": []}
    for row in rows_of(CONV):
        at = datetime.fromisoformat(row[0][:26])
        split["2023-11-17" if (at.hour, at.minute) >= (18, 15) else "2023-11-16"].append(row)
    assert {d["date"]: (d["total_cost"], d["call_count"]) for d in summary["by_date"]} == \
        {day: (cost_of(rows, "gpt-4"), len(rows)) for day, rows in split.items()}


def test_import_keeps_the_times_of_the_rows(user):
    run(user, CONV, "--model", "gpt-4")
    found = sorted(e["timestamp"] for e in user.events(limit=500, **RANGE))
    # 100 ns in the file, cut to microseconds
    expected = sorted(t.replace(" ", "T")[:26] for t, _, _ in rows_of(CONV))
    assert [D(f[17:-1]) for f in found] == [D(e[17:]) for e in expected]
    assert [f[:17] for f in found] == [e[:17] for e in expected]


def test_import_killed_in_the_middle_is_resumed_without_doubles(user):
    big = make_folder() / "big.csv"
    rows = rows_of(CONV)
    with open(big, "w") as f:
        f.write("time,model,input_tokens,output_tokens\n")
        for n in range(20):
            f.writelines(f"{t.replace('2023-11-16', f'2023-12-{n + 1:02d}')},gpt-4,{i},{o}\n" for t, i, o in rows)
    process = subprocess.Popen(command(user, big, "--batch", "20"), env=environment(LLMLAB_KEY=user.token),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=big.parent)
    month = {"from": "2023-12-01", "to": "2023-12-31"}
    wait_for(lambda: user.ok("GET", "/api/costs/summary", query=month)["call_count"] >= 400, "some rows")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stored = user.ok("GET", "/api/costs/summary", query=month)["call_count"]
    assert 400 <= stored < 6000, "the kill came too late to prove anything"
    done = run(user, big)
    total, new, duplicates, rejected, unpriced, cost = figures(done)
    assert done.returncode == 0 and (total, rejected, unpriced, cost) == (6000, 0, 0, 20 * cost_of(rows, "gpt-4"))
    # a batch may have been on its way when the process died
    assert stored <= duplicates <= stored + 20 and new + duplicates == 6000
    summary = user.ok("GET", "/api/costs/summary", query=month)
    assert (summary["call_count"], summary["total_cost"]) == (6000, 20 * cost_of(rows, "gpt-4"))


def test_import_equal_rows_within_a_file_count_each(user):
    text = b"timestamp,model,input_tokens,output_tokens\n" + b"2026-06-10T12:00:00Z,gpt-4,1000,500\n" * 3
    for stored, duplicates in ((3, 0), (0, 3)):
        assert figures(run(user, "-", stdin=text)) == [3, stored, duplicates, 0, 0, D("0.18")]
    assert len(user.events(**{"from": "2026-06-10", "to": "2026-06-10"})) == 3


def test_import_bad_rows_are_told_by_line_and_the_others_stored(user):
    text = (b"timestamp,model,input_tokens,output_tokens\n2026-06-10T12:00:00Z,gpt-4,1000,500\n2026-06-10T12:00:00Z,gpt-4,-5,1\n"
            b"never,gpt-4,1,1\n2026-06-10T12:00:00Z,gpt-4,x,1\n2026-06-10T12:00:00Z,gpt-4,1\n2026-06-10T12:00:00Z,gpt-4,1000,500\n")
    done = run(user, "-", stdin=text)
    assert done.returncode == 1 and figures(done) == [6, 2, 0, 4, 0, D("0.12")]
    for line in (3, 4, 5, 6):
        assert f"line {line}:" in done.stderr.decode(), done.stderr


@pytest.mark.parametrize("header", [b"timestamp,model,input_tokens,cached_tokens", b"a,b,c", b"model,timestamp",
                                    b"model,input_tokens,input_tokens", b"model,input_tokens,prompt_tokens", b""])
def test_import_header_that_would_lose_tokens_is_refused(user, header):
    done = run(user, "-", stdin=header + b"\ngpt-4,2026-06-10T12:00:00Z,5,5\n")
    assert done.returncode != 0 and done.stderr, done
    assert user.events() == []


def test_import_columns_can_be_mapped_and_ignored(user):
    text = (b"When,Engine,In,Out,cached_tokens,tag.team\n2026-06-10T12:00:00Z,gpt-4,1000,500,3,\"a, \"\"b\"\"\"\n")
    done = run(user, "-", "--map", "timestamp=When,model=Engine,input_tokens=In,output_tokens=Out", "--ignore", "cached_tokens",
               stdin=text)
    assert done.returncode == 0 and figures(done) == [1, 1, 0, 0, 0, D("0.06")], done
    assert user.events(**{"from": "2026-06-10", "to": "2026-06-10"})[0]["tags"] == {"team": 'a, "b"'}


def test_import_ndjson_takes_the_events_of_track(user):
    lines = [{"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "timestamp": "2026-06-10T12:00:00Z"},
             {"provider": "openai", "model": "gpt-4o", "timestamp": "2026-06-10T12:00:00Z", "usage": {
                 "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}]
    text = "\n".join(json.dumps(x) for x in lines).encode() + b"\n"
    # 0.06 + 0.0035
    assert figures(run(user, "-", stdin=text)) == [2, 2, 0, 0, 0, D("0.0635")]
    assert figures(run(user, "-", stdin=text)) == [2, 0, 2, 0, 0, D("0.0635")]


def test_import_wrong_arguments_and_tokens_are_told(user):
    for arguments, code in (([], 2), (["/nonexistent.csv"], 1), ([CODE, "--bogus"], 2), ([CODE, "--batch", "0"], 2),
                            ([CODE, CONV], 2), ([CODE, "--format", "xml"], 2)):
        done = run(user, *arguments)
        assert done.returncode == code and done.stderr, (arguments, done)
    stranger = user.with_token("not-a-token")
    done = run(stranger, CODE, "--model", "gpt-4")
    assert done.returncode == 1 and b"token" in done.stderr.lower(), done
    assert run(user, "--help").returncode == 0
    assert user.events(**RANGE) == []
