"""The log line of a request, and its place in a distributed trace (W3C Trace Context)."""
import json
import re

import pytest

from llmlab_client import unique
from llmlab_server import wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
RESPONSE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def lines(server, request_id):
    found = [json.loads(line) for line in server.log.splitlines() if request_id in line]
    return [entry for entry in found if entry["event"] == "request"]


def log_line(server, request_id):
    return wait_for(lambda: lines(server, request_id), "the log line", seconds=10)[0]


def test_traceparent_well_formed_is_gone_on_with(server, user):
    own = unique("trace")
    answer = user.get("/api/auth/me", headers={"X-Request-Id": own, "traceparent": f"00-{TRACE}-{SPAN}-01"})
    trace, span, flags = RESPONSE.fullmatch(answer.header("traceresponse")).groups()
    assert trace == TRACE and flags == "01"
    assert span != SPAN  # this server's own part
    entry = log_line(server, own)
    assert entry["trace_id"] == TRACE and entry["span_id"] == span


def test_traceparent_of_a_later_version_is_gone_on_with(user):
    for more in ("", "-what-comes-later"):
        answer = user.get("/api/auth/me", headers={"traceparent": f"cc-{TRACE}-{SPAN}-01{more}"})
        assert RESPONSE.fullmatch(answer.header("traceresponse")).group(1) == TRACE


@pytest.mark.parametrize("bad", [
    "", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-0g", f"00_{TRACE}_{SPAN}_01", f"00-{TRACE[:-1]}-{SPAN}-01",
    f"cc-{TRACE}-{SPAN}-01more", "x" * 500])
def test_traceparent_malformed_begins_a_new_trace(user, bad):
    answer = user.get("/api/auth/me", headers={"traceparent": bad})
    assert answer.status == 200
    trace, _, flags = RESPONSE.fullmatch(answer.header("traceresponse")).groups()
    assert trace != TRACE and int(trace, 16) != 0 and flags == "00"


def test_traces_without_traceparent_differ_and_errors_have_one_too(user):
    seen = {RESPONSE.fullmatch(user.get(path).header("traceresponse")).group(1) for path in ("/api/auth/me",) * 20 + ("/api/nothing",) * 20}
    assert len(seen) == 40


def test_log_line_tells_all_of_a_request_and_nothing_secret(server, user):
    own = unique("log")
    body = {"model": "gpt-4", "input_tokens": 1, "metadata": {"canary": "canary-in-a-body"}}
    user.post("/api/events/track?canary=canary-in-a-query", body, headers={"X-Request-Id": own})
    entry = log_line(server, own)
    assert set(entry) == {"ts", "level", "event", "request_id", "trace_id", "span_id", "route", "client", "status", "code", "duration_us",
                          "bytes_in", "bytes_out", "user_id"}
    assert (entry["level"], entry["route"], entry["status"], entry["code"]) == ("info", "events_track", 400, "validation_failed")
    assert entry["user_id"] == user.user_id and entry["bytes_out"] > 0 and entry["bytes_in"] > 0 and entry["duration_us"] >= 0
    assert "canary" not in server.log and user.email not in server.log and user.token not in server.log


def test_log_as_text_is_one_line_for_each_request(pair, own_server):
    server = own_server(**dict(pair[0].settings, LOG_FORMAT="text")).start()
    own = unique("text")
    server.client().get("/api/health/live", headers={"X-Request-Id": own})
    line = wait_for(lambda: [t for t in server.log.splitlines() if own in t], "the log line")
    assert len(line) == 1 and re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z info +request request_id=", line[0]), line
    assert server.end(15) == 0  # SIGTERM; its log is not JSON, so it is looked at here
    assert "error" not in server.log
