"""Many events in one request: each has an outcome of its own, in order."""
import gzip
from decimal import Decimal as D

import pytest

from llmlab_client import dumps

AT = "2026-06-10T12:00:00Z"
GOOD = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "timestamp": AT}
MONTH = {"from": "2026-06-01", "to": "2026-06-30"}


def lines(events):
    return "\n".join(dumps(e) for e in events).encode()


def send(user, body, status=200, **headers):
    answer = user.post("/api/events/batch", body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status == status, answer
    return answer.json


def test_batch_array_and_lines_and_gzip_are_read_alike(user):
    events = [{**GOOD, "input_tokens": i} for i in range(1, 6)]
    for body, headers in ((dumps({"events": events}).encode(), {}),
                          (lines(events), {"Content_Type": "application/x-ndjson"}),
                          (lines(events) + b"\n\n", {"Content_Type": "application/x-ndjson; charset=utf-8"}),
                          (b"\r\n".join(lines(events).split(b"\n")), {"Content_Type": "application/x-ndjson"}),
                          (gzip.compress(lines(events)), {"Content_Type": "application/x-ndjson", "Content_Encoding": "gzip"}),
                          (gzip.compress(dumps({"events": events}).encode()), {"Content_Encoding": "gzip"})):
        answer = send(user, body, **headers)
        assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (5, 0, 0)
        assert [r["index"] for r in answer["results"]] == [0, 1, 2, 3, 4]
        # i tokens at 30 and 500 at 60 per million
        assert [r["cost"] for r in answer["results"]] == [D(i * 30 + 30000) / 10 ** 6 for i in range(1, 6)]
        assert all(r["pricing_status"] == "priced" and r["duplicate"] is False for r in answer["results"])
    assert len({e["event_id"] for e in user.events(limit=500, **MONTH)}) == 30


def test_batch_bad_events_do_not_hurt_the_good_ones(user):
    bad = [{"input_tokens": 1}, {**GOOD, "input_tokens": -1}, {**GOOD, "bogus": 1}, 5, "x", None, [],
           {**GOOD, "timestamp": "never"}, {**GOOD, "cache_read_tokens": 9999}]
    events = []
    for item in bad:
        events += [GOOD, item]
    answer = send(user, dumps({"events": events}).encode())
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (len(bad), 0, len(bad))
    for i, result in enumerate(answer["results"]):
        assert result["index"] == i
        if i % 2 == 0:
            assert result["cost"] == D("0.06") and "error" not in result
        else:
            assert set(result) == {"index", "error"} and result["error"]["code"] and result["error"]["detail"], result
    assert {f["field"] for f in answer["results"][1]["error"]["errors"]} == {"model"}
    assert {f["field"] for f in answer["results"][5]["error"]["errors"]} == {"bogus"}
    assert len(user.events(**MONTH)) == len(bad)


def test_batch_lines_that_are_not_json_are_refused_alone(user):
    body = b"\n".join([dumps(GOOD).encode(), b"{", dumps(GOOD).encode(), b'{"model":"\xff"}', b"NaN", dumps(GOOD).encode()])
    answer = send(user, body, Content_Type="application/x-ndjson")
    assert (answer["accepted"], answer["rejected"]) == (3, 3)
    assert ["error" in r for r in answer["results"]] == [False, True, False, True, True, False]


def test_batch_all_bad_stores_nothing(user):
    answer = send(user, dumps({"events": [{}, {}]}).encode())
    assert (answer["accepted"], answer["rejected"]) == (0, 2)
    assert user.events() == []


def test_batch_keys_inside_one_request_store_one(user):
    keyed = {**GOOD, "idempotency_key": "k"}
    answer = send(user, dumps({"events": [keyed, keyed, {**keyed, "input_tokens": 5}, GOOD, keyed]}).encode())
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (2, 2, 1)
    first, second, third, _, fifth = answer["results"]
    assert first["duplicate"] is False and second["duplicate"] is fifth["duplicate"] is True
    assert first["event_id"] == second["event_id"] == fifth["event_id"] and first["cost"] == second["cost"]
    assert third["error"]["code"] == "idempotency_mismatch"
    again = send(user, dumps({"events": [keyed]}).encode())
    assert again["duplicates"] == 1 and again["results"][0]["event_id"] == first["event_id"]
    single = user.track(status=200, **keyed)
    assert single["event_id"] == first["event_id"]
    assert len(user.events(**MONTH)) == 2


def test_batch_repeated_whole_changes_nothing(user):
    events = [{**GOOD, "input_tokens": i, "idempotency_key": f"k{i}"} for i in range(200)]
    first = send(user, dumps({"events": events}).encode())
    second = send(user, dumps({"events": events[::-1]}).encode())
    assert (first["accepted"], second["accepted"], second["duplicates"]) == (200, 0, 200)
    assert [r["event_id"] for r in second["results"]] == [r["event_id"] for r in first["results"]][::-1]
    summary = user.ok("GET", "/api/costs/summary", query=MONTH)
    # sum of 0..199 = 19900 tokens at 30, 200 x 500 at 60: 597000 + 6000000 = 6.597
    assert (summary["call_count"], summary["total_cost"]) == (200, D("6.597"))


def test_batch_of_10000_is_stored_and_of_10001_refused(user):
    events = [{"model": "gpt-4o-mini", "input_tokens": i, "timestamp": AT} for i in range(10001)]
    refused = user.post("/api/events/batch", lines(events), headers={"Content-Type": "application/x-ndjson"})
    assert refused.status in (400, 413), refused
    refused = user.post("/api/events/batch", dumps({"events": events}).encode())
    assert refused.status in (400, 413), refused
    assert user.events() == []
    answer = send(user, lines(events[:10000]), Content_Type="application/x-ndjson")
    assert answer["accepted"] == 10000 and [r["index"] for r in answer["results"]] == list(range(10000))
    assert len({r["event_id"] for r in answer["results"]}) == 10000
    # 0 + 1 + ... + 9999 = 49,995,000 tokens at 0.15 per million = 7.49925
    summary = user.ok("GET", "/api/costs/summary", query=MONTH)
    assert (summary["call_count"], summary["total_tokens"], summary["total_cost"]) == (10000, 49995000, D("7.49925"))


def test_batch_beyond_8_mib_is_refused_also_when_it_is_packed(user):
    events = [{**GOOD, "metadata": {"text": "x" * 4000}} for _ in range(2200)]
    body = lines(events)
    assert len(body) > 8 * 1024 * 1024
    answer = user.post("/api/events/batch", gzip.compress(body), headers={"Content-Type": "application/x-ndjson",
                                                                         "Content-Encoding": "gzip"})
    assert answer.status == 413, answer
    bomb = gzip.compress(b" " * (1 << 28))
    answer = user.post("/api/events/batch", bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status == 413, answer
    assert user.events() == []


@pytest.mark.parametrize("body", [b"not gzip at all", gzip.compress(b'{"events":[]}', mtime=0)[:-6], b"", gzip.compress(b"{}", mtime=0) + b"tail",
                                  b"\x1f\x8b\x08\x00"])
def test_batch_broken_gzip_is_refused(user, body):
    answer = user.post("/api/events/batch", body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 400, answer


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"events":{}}', b'{"events":[]}', b'{"events":null}', b'{"events":[1,2}',
                                  b'{"events":[{}],"events":[{}]}', b'{"event":[{}]}', b'{"events":[{}],"x":1}', b'{"events":[{}]} x',
                                  b'{"events":[{}],}', b'{"events":[{},]}', b'{"events":[,{}]}', b'"x"', b'{"events":' + b"[" * 5000,
                                  b'{"events":[{"model":"gpt-4","input_tokens":1}', b'{"events":[{} {}]}'])
def test_batch_bad_frame_is_refused_and_nothing_is_stored(user, body):
    answer = user.post("/api/events/batch", body)
    assert answer.status in (400, 413), answer
    assert user.events() == []


def test_batch_with_broken_json_behind_good_events_stores_nothing(user):
    body = b'{"events":[' + dumps(GOOD).encode() + b',{"model":"gpt-4",}]}'
    assert user.post("/api/events/batch", body).status == 400
    assert user.events(**MONTH) == []


def test_batch_idempotency_header_is_refused(user):
    answer = user.post("/api/events/batch", {"events": [GOOD]}, headers={"Idempotency-Key": "k"})
    assert answer.status == 400 and "Idempotency-Key" in answer.fields, answer
    assert user.events() == []


def test_batch_unpriced_events_say_so(user):
    answer = user.batch([{"model": "no-such-model", "input_tokens": 1, "timestamp": AT}, GOOD])
    assert [(r["cost"], r["pricing_status"]) for r in answer["results"]] == [(None, "unpriced"), (D("0.06"), "priced")]
