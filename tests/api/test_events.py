"""Recording calls: exact costs, what counts as a repeat, and reading back."""
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import Client, sign_up, unique
from llmlab_server import query

AT = "2026-06-10T12:00:00Z"  # a day on which the prices below hold


def month_of(**more):
    return {"from": "2026-06-01", "to": "2026-06-30", **more}


# ---- exact costs, worked out by hand from the providers' price pages (USD per million tokens) ----

COSTS = {
    # gpt-4: 30 in, 60 out: 1000 x 30 / 10^6 + 500 x 60 / 10^6 = 0.03 + 0.03
    "seed": ({"provider": "openai", "model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}, "0.06", "openai"),
    "provider from the model": ({"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}, "0.06", "openai"),
    "any case": ({"provider": "OpenAI", "model": "GPT-4", "input_tokens": 1000, "output_tokens": 500}, "0.06", "openai"),
    "by address": ({"base_url": "https://api.openai.com/v1", "model": "gpt-4", "input_tokens": 1000, "output_tokens": 500},
                   "0.06", "openai"),
    "one token": ({"model": "gpt-4o-mini", "input_tokens": 1}, "0.00000015", "openai"),
    # gpt-4o: 2.5 in, 1.25 cached, 10 out: (1000 - 400) x 2.5 + 400 x 1.25 + 100 x 10 = 1500 + 500 + 1000 = 3000 / 10^6
    "cached": ({"model": "gpt-4o", "input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 100}, "0.003", "openai"),
    "all cached": ({"model": "gpt-4o", "input_tokens": 1000, "cache_read_tokens": 1000}, "0.00125", "openai"),
    # reasoning has no price of its own and is charged as output: 200 x 10 = 2000 / 10^6
    "reasoning": ({"model": "gpt-4o", "output_tokens": 200, "reasoning_tokens": 150}, "0.002", "openai"),
    # a model without a cached price charges cached tokens as input: 1000 x 30 / 10^6
    "cached without a price": ({"model": "gpt-4", "input_tokens": 1000, "cache_read_tokens": 1000}, "0.03", "openai"),
    # claude-opus-4-5: 5 in, 0.5 read, 6.25 write, 10 write for 1 h, 25 out; input 10000 = 2000 plain + 5000 read + 2000 written
    # for 5 minutes + 1000 for 1 hour: 2000 x 5 + 5000 x 0.5 + 2000 x 6.25 + 1000 x 10 + 100 x 25
    # = 10000 + 2500 + 12500 + 10000 + 2500 = 37500 / 10^6
    "cache writes": ({"model": "claude-opus-4-5", "input_tokens": 10000, "cache_read_tokens": 5000, "cache_write_tokens": 3000,
                      "cache_write_1h_tokens": 1000, "output_tokens": 100}, "0.0375", "anthropic"),
    # 3 searches at 10 a thousand = 0.03 more
    "searches": ({"model": "claude-opus-4-5", "input_tokens": 1000, "web_searches": 3}, "0.035", "anthropic"),
    # batch is half: 2.5 in, 12.5 out
    "batch": ({"model": "claude-opus-4-5", "input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}, "0.00375",
              "anthropic"),
    # gpt-4o priority: 4.25 in, 17 out: 4250 + 1700 = 5950; the request value fast means priority
    "priority": ({"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100, "service_tier": "priority"}, "0.00595", "openai"),
    "default tier": ({"model": "gpt-4o", "input_tokens": 1000, "service_tier": "default"}, "0.0025", "openai"),
    # gemini-2.5-pro: 1.25 / 10; above 200,000 in, 2.5 / 15 for every token of the request
    "at the tier": ({"model": "gemini-2.5-pro", "input_tokens": 200000, "output_tokens": 1000}, "0.26", "google"),
    "above the tier": ({"model": "gemini-2.5-pro", "input_tokens": 200001, "output_tokens": 1000}, "0.5150025", "google"),
    # gemini-2.5-flash: text 0.3, audio 1, cached 0.03, cached audio 0.1, out 2.5; 1000 in = 500 text + 300 audio + 100 cached text
    # + 100 cached audio: 150 + 300 + 3 + 10 + 25 = 488 / 10^6
    "audio": ({"model": "gemini-2.5-flash", "input_tokens": 1000, "input_audio_tokens": 400, "cache_read_tokens": 200,
               "cache_read_audio_tokens": 100, "output_tokens": 10}, "0.000488", "google"),
    # claude-sonnet-5 with inference_geo us: (2000 x 2 + 100 x 10) x 1.1 = 5500 / 10^6
    "geography": ({"model": "claude-sonnet-5", "input_tokens": 2000, "output_tokens": 100, "inference_geo": "us"}, "0.0055",
                  "anthropic"),
    # sonar: 1 in, 1 out, 12 per thousand requests: 0.000001 x 1500 + 0.012
    "request fee": ({"provider": "perplexity", "model": "sonar", "input_tokens": 1000, "output_tokens": 500}, "0.0135", "perplexity"),
    # the largest count allowed, 10^12 tokens at 30: 3 x 10^7
    "huge": ({"model": "gpt-4", "input_tokens": 10 ** 12, "output_tokens": 10 ** 12}, "90000000", "openai"),
    "no tokens on a paid model": ({"model": "gpt-4", "input_tokens": 0, "output_tokens": 0}, "0", "openai"),
    "numbers written otherwise": ({"model": "gpt-4", "input_tokens": D("1000.0"), "output_tokens": D("500.00")}, "0.06", "openai"),
}


@pytest.mark.parametrize("case", COSTS)
def test_track_computes_the_exact_cost(user, case):
    event, cost, provider = COSTS[case]
    answer = user.track(timestamp=AT, **event)
    assert answer["cost"] == D(cost) and answer["provider"] == provider, answer
    assert format(D(answer["cost"]), "f").rstrip("0").rstrip(".") == cost.rstrip() or "." not in cost
    pricing = answer["pricing"]
    assert pricing["status"] == "priced" and pricing["record"].count("/") >= 1 and pricing["catalogue_version"]
    assert sum((D(line["cost"]) for line in pricing["breakdown"]), D(0)) == D(cost), "the lines add up exactly"
    for line in pricing["breakdown"]:
        if "tokens" in line and event.get("inference_geo") is None:
            assert D(line["tokens"]) * D(line["per_million"]) / 10 ** 6 == D(line["cost"]), line
    assert answer["duplicate"] is False and answer["user_id"] == user.user_id and answer["model"] == event["model"]
    assert answer["total_tokens"] == answer["input_tokens"] + answer["output_tokens"]
    full = user.ok("GET", f"/api/events/{answer['event_id']}")
    for name in ("event_id", "user_id", "provider", "model", "input_tokens", "output_tokens", "total_tokens", "cost",
                 "tracked_at", "pricing"):
        assert full[name] == answer[name], name
    for name, value in event.items():
        if name.endswith("_tokens") or name == "web_searches":
            assert full[name] == value, name


def test_track_cost_is_written_in_plain_digits_without_trailing_zeros(user):
    for event, text in (({"input_tokens": 1000, "output_tokens": 500}, b'"cost":0.06,'), ({"input_tokens": 1}, b'"cost":0.00003,'),
                        ({"input_tokens": 0}, b'"cost":0,'), ({"input_tokens": 10 ** 11}, b'"cost":3000000,')):
        body = user.post("/api/events/track", {"model": "gpt-4", "timestamp": AT, **event}).body
        assert text in body, body


def test_track_uses_the_price_of_the_time_of_the_call(user):
    # o3: 10 / 40 until 2025-06-10T00:00Z, 2 / 8 from then on: 1000 x 10 + 100 x 40 = 14000; 1000 x 2 + 100 x 8 = 2800
    for at, cost in (("2025-06-09T23:59:59.999999Z", "0.014"), ("2025-06-10T00:00:00Z", "0.0028"),
                     ("2025-06-10T01:59:59+02:00", "0.014"), ("2025-06-10T02:00:00+02:00", "0.0028")):
        assert user.track(model="o3", input_tokens=1000, output_tokens=100, timestamp=at)["cost"] == D(cost), at


def test_track_daily_window_price_is_by_utc_time_of_day(user):
    # deepseek-chat before 2025-09-05: 0.27 / 1.1 from 00:30 to 16:30 UTC, else 0.135 / 0.55
    for at, cost in (("2025-08-01T00:29:59Z", "0.000135"), ("2025-08-01T00:30:00Z", "0.00027"),
                     ("2025-08-01T16:29:59Z", "0.00027"), ("2025-08-01T16:30:00Z", "0.000135")):
        answer = user.track(provider="deepseek", model="deepseek-chat", input_tokens=1000, timestamp=at)
        assert answer["cost"] == D(cost), at


@pytest.mark.parametrize("event,rule,provider", [
    ({"provider": "openai", "model": "no-such-model-9"}, "unknown_model", "openai"),
    ({"provider": "no-such-provider", "model": "gpt-4"}, "unknown_provider", "no-such-provider"),
    ({"model": "completely-unknown-thing"}, "unknown_provider", None),
])
def test_track_unknown_model_or_provider_is_stored_unpriced(user, event, rule, provider):
    answer = user.track(input_tokens=10, output_tokens=5, timestamp=AT, **event)
    assert answer["cost"] is None and answer["pricing"]["status"] == "unpriced" and answer["pricing"]["rule"] == rule, answer
    assert answer["pricing"]["breakdown"] == []
    assert provider is None or answer["provider"] == provider
    summary = user.ok("GET", "/api/costs/summary", query=month_of())
    assert (summary["call_count"], summary["unpriced_calls"], summary["total_cost"]) == (1, 1, 0)
    assert summary["total_tokens"] == 15


@pytest.mark.parametrize("cost", [D("0.05"), "0.05", 0, "0", D("0.000000000000000001"), "123456789.123456789123456789", 1])
def test_track_reported_cost_is_kept_exactly_beside_our_price(user, cost):
    answer = user.track(model="gpt-4", input_tokens=1000, output_tokens=500, cost=cost, timestamp=AT)
    assert answer["cost"] == D(str(cost)) and answer["pricing"]["status"] == "reported", answer
    assert answer["pricing"]["catalogue_cost"] == D("0.06")
    assert user.ok("GET", "/api/costs/summary", query=month_of())["total_cost"] == D(str(cost))


@pytest.mark.parametrize("cost", ["0.0000000000000000001", "1000000000001", D("1e-19")])
def test_track_reported_cost_that_cannot_be_kept_exactly_is_refused(user, cost):
    answer = user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "cost": cost})
    assert answer.status == 400 and answer.fields == {"cost"}, answer


def test_track_cost_alone_is_enough(user):
    answer = user.track(model="my-own", cost="1.5", timestamp=AT)
    assert answer["cost"] == D("1.5") and answer["total_tokens"] == 0


CONTRADICTIONS = [
    {"input_tokens": 10, "cache_read_tokens": 11}, {"input_tokens": 10, "cache_write_tokens": 11},
    {"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 5},
    {"input_tokens": 10, "cache_write_tokens": 5, "cache_write_1h_tokens": 6}, {"output_tokens": 10, "reasoning_tokens": 11},
    {"input_tokens": 10, "input_audio_tokens": 11}, {"cache_read_tokens": 1}, {"reasoning_tokens": 1},
    {"input_tokens": 10, "input_audio_tokens": 6, "input_image_tokens": 5},
    {"input_tokens": 10, "cache_read_tokens": 5, "cache_read_audio_tokens": 3, "input_audio_tokens": 2},
    {"output_tokens": 10, "citation_tokens": 6, "reasoning_tokens": 5},
]


@pytest.mark.parametrize("counts", CONTRADICTIONS, ids=[",".join(c) for c in CONTRADICTIONS])
def test_track_counts_that_contradict_themselves_are_refused_not_clamped(user, counts):
    answer = user.post("/api/events/track", {"model": "gpt-4o", **counts})
    assert answer.status == 400 and answer.fields, answer
    assert user.events() == []


def test_track_counts_and_usage_and_response_exclude_each_other(user):
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    for more in ({"usage": usage}, {"response": {"model": "gpt-4", "usage": usage}}):
        answer = user.post("/api/events/track", {"provider": "openai", "model": "gpt-4", "input_tokens": 1, **more})
        assert answer.status == 400, answer
    answer = user.post("/api/events/track", {"provider": "openai", "model": "gpt-4", "usage": usage,
                                             "response": {"model": "gpt-4", "usage": usage}})
    assert answer.status == 400, answer
    assert user.post("/api/events/track", {"model": "gpt-4"}).status == 400


# ---- usage objects of the providers ----

USAGES = {
    # 600 x 2.5 + 400 x 1.25 + 100 x 10 = 3000 / 10^6
    "openai chat": ({"provider": "openai", "model": "gpt-4o", "usage": {
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                      "rejected_prediction_tokens": 0}}},
        {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 100, "reasoning_tokens": 40}, "0.003"),
    "openai responses": ({"provider": "openai", "model": "gpt-4o", "usage_format": "openai.responses", "usage": {
        "input_tokens": 1000, "input_tokens_details": {"cached_tokens": 400}, "output_tokens": 100,
        "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 1100}},
        {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 100, "reasoning_tokens": 40}, "0.003"),
    # anthropic's input excludes both cache kinds: 2000 + 5000 + 3000 = 10000 in; as in "cache writes" above: 0.0375;
    # 2 searches at 10 a thousand: 0.02
    "anthropic": ({"provider": "anthropic", "model": "claude-opus-4-5", "usage": {
        "input_tokens": 2000, "cache_read_input_tokens": 5000, "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000}, "output_tokens": 100,
        "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard"}},
        {"input_tokens": 10000, "cache_read_tokens": 5000, "cache_write_tokens": 3000, "cache_write_1h_tokens": 1000,
         "output_tokens": 100, "web_searches": 2}, "0.0575"),
    "anthropic batch tier of the usage": ({"provider": "anthropic", "model": "claude-opus-4-5", "usage": {
        "input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}},
        {"input_tokens": 1000, "output_tokens": 100}, "0.00375"),
    # gemini: thoughts and the tool prompt come on top: in 1000 + 50, out 100 + 40; 250 x 0.03 + 800 x 0.3 + 140 x 2.5
    # = 7.5 + 240 + 350 = 597.5 / 10^6
    "google": ({"provider": "google", "model": "gemini-2.5-flash", "usage": {
        "promptTokenCount": 1000, "cachedContentTokenCount": 250, "candidatesTokenCount": 100, "thoughtsTokenCount": 40,
        "toolUsePromptTokenCount": 50, "totalTokenCount": 1190}},
        {"input_tokens": 1050, "cache_read_tokens": 250, "output_tokens": 140, "reasoning_tokens": 40}, "0.0005975"),
    # deepseek from 2025-09-29: 0.28, cached 0.028, out 0.42: 300 x 0.28 + 700 x 0.028 + 100 x 0.42 = 84 + 19.6 + 42
    "deepseek": ({"provider": "deepseek", "model": "deepseek-chat", "usage": {
        "prompt_tokens": 1000, "prompt_cache_hit_tokens": 700, "prompt_cache_miss_tokens": 300, "completion_tokens": 100,
        "total_tokens": 1100, "prompt_tokens_details": {"cached_tokens": 700}}},
        {"input_tokens": 1000, "cache_read_tokens": 700, "output_tokens": 100}, "0.0001456"),
}


@pytest.mark.parametrize("case", USAGES)
def test_track_reads_the_provider_usage_object(user, case):
    event, counts, cost = USAGES[case]
    answer = user.track(timestamp=AT, **event)
    full = user.ok("GET", f"/api/events/{answer['event_id']}")
    assert {k: full[k] for k in counts} == counts, full
    assert answer["cost"] == D(cost), answer


def test_track_aws_and_xai_and_cohere_usage_count_what_is_billed(user):
    aws = user.track(provider="aws", model="anthropic.claude-3-haiku-20240307-v1:0", timestamp=AT, usage={
        "inputTokens": 631, "outputTokens": 574, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 50, "totalTokens": 1355})
    assert (aws["input_tokens"], aws["output_tokens"]) == (781, 574)
    xai = user.track(provider="x-ai", model="grok-4", timestamp=AT, usage={
        "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150,
        "completion_tokens_details": {"reasoning_tokens": 30}})
    assert (xai["input_tokens"], xai["output_tokens"]) == (100, 50)
    cohere = user.track(provider="cohere", model="command-r", timestamp=AT, usage={
        "billed_units": {"input_tokens": 100.0, "output_tokens": 10.0}, "tokens": {"input_tokens": 170.0, "output_tokens": 12.0}})
    # command-r: 0.15 / 0.6: 100 x 0.15 + 10 x 0.6 = 21 / 10^6
    assert (cohere["input_tokens"], cohere["output_tokens"], cohere["cost"]) == (100, 10, D("0.000021"))


BAD_USAGES = [
    {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 20},
    {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}},
    {"prompt_tokens": "10", "completion_tokens": 5}, {"prompt_tokens": -1, "completion_tokens": 5}, {},
    {"prompt_tokens": 1.5, "completion_tokens": 5}, {"no": "counts"}, {"prompt_tokens": 10 ** 13},
    {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
]


@pytest.mark.parametrize("usage", BAD_USAGES, ids=range(len(BAD_USAGES)))
def test_track_usage_object_that_contradicts_itself_is_refused(user, usage):
    answer = user.post("/api/events/track", {"provider": "openai", "model": "gpt-4o", "usage": usage})
    assert answer.status == 400 and answer.fields, answer
    assert user.events() == []


def openai_response(**more):
    return {"id": unique("chatcmpl"), "object": "chat.completion", "created": 1781000000, "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, **more}


def test_track_reads_the_whole_response_and_its_id_is_the_key(user):
    response = openai_response()
    first = user.track(provider="openai", response=response, timestamp=AT)
    # 1000 x 2.5 + 100 x 10 = 3500 / 10^6
    assert (first["model"], first["cost"]) == ("gpt-4o-2024-08-06", D("0.0035"))
    again = user.track(provider="openai", response=response, timestamp=AT, status=200)
    assert again == {**first, "duplicate": True}
    assert len(user.events(**month_of())) == 1


def test_track_reads_an_anthropic_response(user):
    answer = user.track(timestamp=AT, provider="anthropic", response={
        "id": unique("msg"), "type": "message", "role": "assistant", "model": "claude-opus-4-5-20251101", "content": [],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0,
                                             "cache_creation_input_tokens": 0}})
    # 1000 x 5 + 100 x 25 = 7500 / 10^6
    assert answer["cost"] == D("0.0075") and answer["model"] == "claude-opus-4-5-20251101"


def test_track_response_without_usage_is_refused_not_counted_as_0(user):
    response = openai_response()
    del response["usage"]
    assert user.post("/api/events/track", {"provider": "openai", "response": response}).status == 400
    response["usage"] = None
    assert user.post("/api/events/track", {"provider": "openai", "response": response}).status == 400
    assert user.events() == []


def test_track_openrouter_own_cost_is_kept_but_does_not_replace_ours(user):
    answer = user.track(provider="openrouter", model="openai/gpt-4o", timestamp=AT, usage={
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cost": D("0.0041")})
    assert answer["pricing"]["status"] == "priced" and answer["cost"] != D("0.0041"), answer
    assert answer["pricing"]["reported_cost"] == D("0.0041")


# ---- what travels with an event ----

def test_track_context_comes_back_as_it_was(user):
    event = {"provider": "openai", "model": "gpt-4", "input_tokens": 10, "output_tokens": 5, "project": "プロジェクト",
             "customer": "Ünal & Söhne", "tags": {"team": "α", "env": "prod", "": ""} and {"team": "α", "env": "prod"},
             "metadata": {"nested": {"list": [1, 2.5, None, True, "x"]}, "text": "line\nline \"quoted\" \\ é 😀"},
             "latency_ms": 1234, "status": "error", "timestamp": "2026-06-10T12:34:56.789012+05:45", "inference_geo": "eu"}
    answer = user.ok("POST", "/api/events/track", event, status=201)
    full = user.ok("GET", f"/api/events/{answer['event_id']}")
    for name in ("project", "customer", "tags", "latency_ms", "status"):
        assert full[name] == event[name], name
    assert full["metadata"]["nested"]["list"] == [1, D("2.5"), None, True, "x"]
    assert full["metadata"]["text"] == event["metadata"]["text"]
    # 12:34:56.789012 at +05:45 is 06:49:56.789012 UTC
    assert full["timestamp"].startswith("2026-06-10T06:49:56.789") and full["timestamp"].endswith("Z")
    listed = user.events(**month_of())
    assert listed == [full]


def test_track_limits_are_inclusive(user):
    user.track(model="m" * 200, provider="p" * 200, input_tokens=1, project="é" * 128, customer="c" * 128, timestamp=AT,
               tags={str(i): "v" * 128 for i in range(8)}, idempotency_key="k" * 128)
    text = "x" * (4096 - len('{"a":""}'))
    answer = user.track(model="gpt-4", input_tokens=1, timestamp=AT, metadata={"a": text})
    assert user.ok("GET", f"/api/events/{answer['event_id']}")["metadata"] == {"a": text}
    assert user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "metadata": {"a": text + "x"}}).status == 400


TIMES = [
    ("2026-06-10T12:00:00Z", "2026-06-10T12:00:00"), ("2026-06-10T12:00:00.5Z", "2026-06-10T12:00:00.5"),
    ("2026-06-10t12:00:00z", "2026-06-10T12:00:00"), ("2026-06-10 12:00:00Z", "2026-06-10T12:00:00"),
    ("2026-06-10T14:00:00+02:00", "2026-06-10T12:00:00"), ("2026-06-10T00:30:00-11:30", "2026-06-10T12:00:00"),
    ("2026-06-10T12:00:00", "2026-06-10T12:00:00"), (1781092800, "2026-06-10T12:00:00"), (1781092800000, "2026-06-10T12:00:00"),
    (1781092800250, "2026-06-10T12:00:00.25"), (D("1781092800.25"), "2026-06-10T12:00:00.25"),
    ("2016-02-29T00:00:00Z", "2016-02-29T00:00:00"), ("2015-01-01T00:00:00Z", "2015-01-01T00:00:00"),
]


@pytest.mark.parametrize("given,expected", TIMES, ids=[str(t[0]) for t in TIMES])
def test_track_timestamp_forms_mean_the_same_instant(user, given, expected):
    answer = user.track(model="gpt-4", input_tokens=1, timestamp=given)
    found = user.ok("GET", f"/api/events/{answer['event_id']}")["timestamp"]
    assert D(found[17:-1]) == D(expected[17:]) and found[:17] == expected[:17] and found[-1] == "Z", found


def test_track_timestamp_absent_is_now_and_a_little_ahead_is_allowed(user):
    before = datetime.now(timezone.utc)
    answer = user.track(model="gpt-4", input_tokens=1)
    full = user.ok("GET", f"/api/events/{answer['event_id']}")
    when = datetime.fromisoformat(full["timestamp"].replace("Z", "+00:00"))
    assert before - timedelta(seconds=1) <= when <= datetime.now(timezone.utc) + timedelta(seconds=1)
    for seconds, status in ((280, 201), (320, 400)):
        ahead = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()
        assert user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "timestamp": ahead}).status == status


def test_track_injection_texts_are_only_texts(server, user):
    for text in ("'; DROP TABLE events; --", "$(reboot)", "<script>alert(1)</script>", "%s%n", "\\x00", "a'||pg_sleep(9)--",
                 "{{7*7}}", "../../etc/passwd", "=1+1", "😀", "‮"):
        answer = user.track(model="gpt-4", input_tokens=1, project=text, customer=text, tags={"t": text}, metadata={text: text},
                            timestamp=AT)
        full = user.ok("GET", f"/api/events/{answer['event_id']}")
        assert (full["project"], full["customer"], full["tags"], full["metadata"]) == (text, text, {"t": text}, {text: text})
        assert [e["event_id"] for e in user.events(project=text, **month_of())] == [answer["event_id"]]


# ---- idempotency ----

def test_key_repeated_with_the_same_event_answers_the_first_result(user):
    event = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "tags": {"a": "1", "b": "2"},
             "metadata": {"x": 1, "y": 2}}
    first = user.track(idempotency_key="k1", **event)
    again = user.track(idempotency_key="k1", status=200, **event)
    assert again == {**first, "duplicate": True}
    # the order of members, other spellings of numbers, and the header instead of the member change nothing
    turned = dict(reversed(list(event.items())))
    turned.update(tags={"b": "2", "a": "1"}, input_tokens=D("1000.0"))
    assert user.track(status=200, headers={"Idempotency-Key": "k1"}, **turned) == {**first, "duplicate": True}
    assert user.track(status=200, headers={"Idempotency-Key": "k1"}, idempotency_key="k1", **event)["duplicate"] is True
    assert len(user.events()) == 1


@pytest.mark.parametrize("change", [{"input_tokens": 1001}, {"output_tokens": 0}, {"model": "gpt-4o"}, {"provider": "azure"},
                                    {"project": "x"}, {"customer": "x"}, {"tags": {"a": "2"}}, {"metadata": {"x": 2}},
                                    {"status": "error"}, {"latency_ms": 1}, {"cost": 1}, {"timestamp": "2026-06-10T12:00:01Z"},
                                    {"service_tier": "batch"}, {"cache_read_tokens": 1}])
def test_key_repeated_with_another_event_answers_422_and_changes_nothing(user, change):
    event = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "tags": {"a": "1"}, "metadata": {"x": 1},
             "timestamp": AT}
    first = user.track(idempotency_key="k", **event)
    answer = user.post("/api/events/track", {**event, "idempotency_key": "k", **change})
    assert answer.status == 422 and answer.json["code"] == "idempotency_mismatch", answer
    stored = user.events(**month_of())
    assert len(stored) == 1 and stored[0]["event_id"] == first["event_id"] and stored[0]["cost"] == first["cost"]


def test_key_in_header_and_body_that_differ_are_refused(user):
    answer = user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "idempotency_key": "a"},
                       headers={"Idempotency-Key": "b"})
    assert answer.status == 400 and "idempotency_key" in answer.fields, answer


def test_key_of_one_user_means_nothing_to_another(user, other):
    first = user.track(model="gpt-4", input_tokens=1000, idempotency_key="shared")
    second = other.track(model="gpt-4", input_tokens=7, idempotency_key="shared")
    assert second["duplicate"] is False and second["event_id"] != first["event_id"]


def test_key_has_no_hole_in_time(user):
    # the same key, 400 days and many partitions apart
    event = {"model": "gpt-4", "input_tokens": 5, "timestamp": "2025-01-15T00:00:00Z"}
    first = user.track(idempotency_key="old", **event)
    assert user.track(idempotency_key="old", status=200, **event) == {**first, "duplicate": True}
    later = {**event, "timestamp": "2026-03-01T00:00:00Z"}
    assert user.post("/api/events/track", {**later, "idempotency_key": "old"}).status == 422


def test_key_sent_by_32_threads_at_once_stores_exactly_one(server, user):
    results = []
    start = threading.Barrier(32)

    def one():
        client = Client(server.port, user.token)
        start.wait()
        results.append(client.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1000, "idempotency_key": "race"}))
        client.close()

    threads = [threading.Thread(target=one) for _ in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(a.status for a in results) == [200] * 31 + [201]
    assert len({a.json["event_id"] for a in results}) == 1
    assert sorted(a.json["duplicate"] for a in results) == [False] + [True] * 31
    assert len(user.events()) == 1


# ---- reading back ----

@pytest.fixture(scope="module")
def library(server):
    """An account with 60 events that differ in everything one can filter by; several share an instant."""
    client = sign_up(server.port)
    events = []
    for i in range(60):
        events.append({"model": ("gpt-4", "gpt-4o", "claude-opus-4-5")[i % 3], "input_tokens": 100 * (i + 1),
                       "project": f"p{i % 2}", "customer": f"c{i % 5}", "tags": {"team": f"t{i % 4}", "all": "yes"},
                       "status": "error" if i % 10 == 0 else "success", "timestamp": f"2026-06-{10 + i // 6:02d}T12:00:00Z"})
    results = client.batch(events)["results"]
    for event, result in zip(events, results):
        event["event_id"] = result["event_id"]
    yield client, events
    client.close()


@pytest.mark.parametrize("limit", [1, 7, 30, 59, 60, 61, 500])
def test_list_walk_sees_every_event_exactly_once_newest_first(library, limit):
    client, events = library
    found = client.events(limit=limit, **month_of())
    assert sorted(e["event_id"] for e in found) == sorted(e["event_id"] for e in events)
    order = [(e["timestamp"], e["event_id"]) for e in found]
    assert order == sorted(order, reverse=True)


FILTERS = {
    "provider": ({"provider": "openai"}, lambda e: e["model"].startswith("gpt")),
    "provider in another case": ({"provider": "Anthropic"}, lambda e: e["model"].startswith("claude")),
    "model": ({"model": "gpt-4o"}, lambda e: e["model"] == "gpt-4o"),
    "project": ({"project": "p1"}, lambda e: e["project"] == "p1"),
    "customer": ({"customer": "c3"}, lambda e: e["customer"] == "c3"),
    "tag": ({"tag.team": "t2"}, lambda e: e["tags"]["team"] == "t2"),
    "tag of all": ({"tag.all": "yes"}, lambda e: True),
    "tag of none": ({"tag.nothing": "x"}, lambda e: False),
    "status": ({"status": "error"}, lambda e: e["status"] == "error"),
    "model, project and tag": ({"model": "gpt-4", "project": "p0", "tag.team": "t0"},
                               lambda e: (e["model"], e["project"], e["tags"]["team"]) == ("gpt-4", "p0", "t0")),
    "min_cost": ({"min_cost": "0.09", "model": "gpt-4"}, lambda e: e["model"] == "gpt-4" and e["input_tokens"] >= 3000),
    "days": ({"from": "2026-06-12", "to": "2026-06-13"}, lambda e: e["timestamp"][8:10] in ("12", "13")),
    "instants": ({"from": "2026-06-12T12:00:00Z", "to": "2026-06-14T12:00:00Z"}, lambda e: e["timestamp"][8:10] in ("12", "13")),
}


@pytest.mark.parametrize("name", FILTERS)
def test_list_filter_gives_exactly_the_matching_events(library, name):
    client, events = library
    query_, matches = FILTERS[name]
    expected = sorted(e["event_id"] for e in events if matches(e))
    for limit in (500, 4):
        found = client.events(limit=limit, **{**(month_of() if "from" not in query_ else {}), **query_})
        assert sorted(e["event_id"] for e in found) == expected
    assert name == "tag of none" or expected


def test_list_events_that_arrive_while_walking_do_not_disturb_the_walk(server):
    client = sign_up(server.port)
    old = [client.track(model="gpt-4", input_tokens=1, timestamp=f"2026-06-{d:02d}T00:00:00Z")["event_id"] for d in range(1, 11)]
    page = client.ok("GET", "/api/events", query=month_of(limit=4))
    client.track(model="gpt-4", input_tokens=1, timestamp="2026-06-20T00:00:00Z")
    client.track(model="gpt-4", input_tokens=1, timestamp="2026-06-09T12:00:00Z")
    seen = [e["event_id"] for e in page["events"]]
    while page["next_cursor"]:
        page = client.ok("GET", "/api/events", query=month_of(limit=4, cursor=page["next_cursor"]))
        seen += [e["event_id"] for e in page["events"]]
    assert len(seen) == len(set(seen)) and set(seen) >= set(old)


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": 501}, {"limit": "x"}, {"limit": -1}, {"limit": "1.5"}, {"cursor": "x"},
                                 {"cursor": ""}, {"cursor": "A" * 5000}, {"cursor": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
                                 {"status": "ok"}, {"min_cost": "x"}, {"min_cost": -1}, {"days": 0}, {"days": 367}, {"days": "x"},
                                 {"tz": "Nowhere/City"}, {"from": "x"}, {"from": "2026-06-02", "to": "2026-06-01"},
                                 {"to": "2026-06-02"}, {"from": "2026-06-01", "days": 3}, {"from": "2026-02-30"},
                                 {"from": "2024-01-01", "to": "2026-06-01"}, {"provider": ""}, {"user_id": "x"},
                                 {"from": "2026-06-01", "to": "2026-06-01T12:00:00Z"}])
def test_list_bad_parameter_is_named(user, bad):
    answer = user.get("/api/events", query=bad)
    assert answer.status == 400 and answer.fields & set(bad) | ({"from"} & answer.fields), (bad, answer)


def test_list_of_a_new_account_is_empty(user):
    assert user.ok("GET", "/api/events/") == {"count": 0, "events": [], "next_cursor": None}


def test_event_of_another_user_answers_as_one_that_does_not_exist(user, other):
    mine = user.track(model="gpt-4", input_tokens=1)["event_id"]
    same = {"X-Request-Id": "same"}
    theirs = other.get(f"/api/events/{mine}", headers=same)
    nobody = other.get("/api/events/01890a5d-ac96-774b-bcce-b302099a8057", headers=same)
    assert theirs.status == nobody.status == 404 and theirs.body == nobody.body
    assert user.get(f"/api/events/{mine}").status == 200
    assert other.events() == []


def test_event_cursor_of_another_user_shows_only_own_events(user, other):
    for i in range(5):
        user.track(model="gpt-4", input_tokens=i + 1)
        other.track(model="gpt-4", input_tokens=100 + i)
    cursor = user.ok("GET", "/api/events", query={"limit": 2})["next_cursor"]
    page = other.ok("GET", "/api/events", query={"cursor": cursor})
    assert all(e["user_id"] == other.user_id for e in page["events"])


@pytest.mark.parametrize("id_", ["x", "1", "01890a5d-ac96-774b-bcce-b302099a805", "01890a5d-ac96-774b-bcce-b302099a80570",
                                 "{01890a5d-ac96-774b-bcce-b302099a8057}", "01890a5dac96774bbcceb302099a8057", "%27", "a%2Fb",
                                 "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_event_with_an_id_that_is_none_answers_404(user, id_):
    assert user.get(f"/api/events/{id_}").status == 404


def test_estimate_says_the_same_as_track_and_stores_nothing(server, user):
    for event, cost, provider in COSTS.values():
        answer = user.ok("POST", "/api/pricing/estimate", {**event, "timestamp": AT})
        assert answer["cost"] == D(cost) and answer["provider"] == provider, answer
        assert "pricing" in answer
    assert user.ok("POST", "/api/pricing/estimate", {"model": "gpt-4", "input_tokens": 1, "timestamp": "2030-01-01T00:00:00Z"})
    assert user.events() == []
    database = server.database()
    assert query(database, "SELECT count(*) FROM events WHERE user_id = %s", (user.user_id,)) == [(0,)]
    database.close()


def test_models_list_walks_the_catalogue_once(user):
    seen, cursor = [], None
    while True:
        page = user.ok("GET", "/api/pricing/models", query={"limit": 500, **({"cursor": cursor} if cursor else {})})
        assert page["count"] == len(page["models"]) and page["catalogue_version"]
        seen += [(m["provider"], m["model"]) for m in page["models"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) > 2000 and ("openai", "gpt-4") in seen
    gpt4 = [m for m in user.ok("GET", "/api/pricing/models", query={"provider": "openai", "q": "gpt-4"})["models"]
            if m["model"] == "gpt-4"]
    assert D(str(gpt4[0]["prices"]["per_million_tokens"]["input"])) == 30
    o3 = {"provider": "openai", "q": "o3"}
    for at, price in (("2025-06-09T00:00:00Z", 10), ("2025-06-10T00:00:00Z", 2)):
        found = [m for m in user.ok("GET", "/api/pricing/models", query={**o3, "at": at})["models"] if m["model"] == "o3"]
        assert D(str(found[0]["prices"]["per_million_tokens"]["input"])) == price
