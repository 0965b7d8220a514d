"""Every parameter that many operations share, and every field of the large tables (units, token counts, categories of prices, match
rules), is what docs/openapi.yaml says: asked for and sent by the document, so that the contract test sees them all."""

import json

import pytest

from llmlab_client import sign_up
from openapi import DOCUMENT

SCHEMAS = DOCUMENT["components"]["schemas"]


def resolve(thing):
    while "$ref" in thing:
        at = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        thing = at
    return thing


def readers(*names):
    """The readings that have all of the parameters, and no path argument."""
    found = []
    for path, item in DOCUMENT["paths"].items():
        parameters = {resolve(p)["name"] for p in item.get("get", {}).get("parameters", [])}
        if "{" not in path and set(names) <= parameters:
            found.append(path)
    return pytest.mark.parametrize("path", found)


@pytest.fixture(scope="module")
def member(server):
    client = sign_up(server.port)
    client.batch([{"model": "gpt-4", "input_tokens": 10, "project": "p", "tags": {"team": "t"}, "idempotency_key": str(i)} for i in range(3)])
    client.batch([{"provider": "nobody", "model": f"unpriced-{i}", "input_tokens": 1} for i in range(3)])
    for i in range(3):
        client.ok("POST", "/api/pricing/overrides", {"provider": "nobody", "model": f"other-{i}", "per_million_tokens": {"input": "1"}}, status=201)
        client.ok("POST", "/api/keys", {"name": f"key {i}", "scope": "read"}, status=201)
        client.ok("POST", "/api/budgets", {"limit": "0.000001", "scope": {"project": f"p{i}"}, "name": f"b{i}"}, status=201)
        client.ok("POST", "/api/pricing/reprice", {"from": "2026-01-01", "to": "2026-01-02", "dry_run": False})
    yield client
    client.close()


@readers("days", "from", "to", "tz")
def test_range_is_taken_in_each_form(member, path):
    for query in ({"days": 2, "tz": "Europe/Berlin"}, {"from": "2026-01-01", "to": "2026-01-31"},
                  {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00.5+01:00", "tz": "UTC"}):
        assert member.get(path, query=query).status == 200, (path, query)


@readers("limit")
def test_limit_is_taken(member, path):
    answer = member.get(path, query={"limit": 1})
    assert answer.status == 200, answer


@readers("limit", "cursor")
def test_cursor_goes_on(member, path):
    first = member.ok("GET", path, query={"limit": 1})
    if first["next_cursor"] is not None:
        second = member.ok("GET", path, query={"limit": 1, "cursor": first["next_cursor"]})
        assert second != first


@readers("provider", "model", "project", "customer", "tag")
def test_filters_are_taken(member, path):
    for query in ({"provider": "openai"}, {"model": "gpt-4"}, {"project": "p"}, {"customer": "c"}, {"tag.team": "t"}):
        assert member.get(path, query=query).status == 200, (path, query)


def choices():
    """Every reading with each value of each of its parameters that has an enum, and the bounds of those that are numbers."""
    for path, item in DOCUMENT["paths"].items():
        for parameter in map(resolve, item.get("get", {}).get("parameters", [])):
            schema = resolve(parameter["schema"])
            values = schema.get("enum", [schema[bound] for bound in ("minimum", "maximum") if bound in schema])
            if parameter["in"] == "query" and "{" not in path:
                yield from ((path, parameter["name"], value) for value in values)


@pytest.mark.parametrize("path,name,value", choices())
def test_every_choice_and_bound_is_taken(member, path, name, value):
    assert member.get(path, query={name: value}).status == 200, (path, name, value)


@pytest.mark.parametrize("path,name,value", [(p, n, v) for p, n, v in choices() if isinstance(v, (int, float)) and v != 0])
def test_beyond_a_bound_is_400(member, path, name, value):
    least = value in (1, 0.1)
    beyond = value / 100 if isinstance(value, float) else 0 if least else value + 1
    answer = member.get(path, query={name: beyond})
    assert answer.status == 400 and name in answer.fields, answer


def test_ids_of_others_things_select_nothing(member):
    nothing = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert member.ok("GET", "/api/alerts", query={"budget_id": nothing})["count"] == 0
    assert member.ok("GET", "/api/costs/breakdown", query={"key": nothing})["call_count"] == 0


def test_check_takes_what_recording_takes_and_a_reservation_is_settled(member):
    member.ok("POST", "/api/budgets", {"limit": 1000, "hard": True}, status=201)
    context = {"provider": "openai", "model": "gpt-4", "base_url": "https://api.openai.com/v1", "service_tier": "batch", "project": "p", "customer": "c",
               "tags": {"team": "t"}, "metadata": {"a": 1}, "latency_ms": 5, "status": "success", "timestamp": "2026-01-01T00:00:00Z", "cost": "1"}
    asked = [{**context, "idempotency_key": "check-1", "usage": {"prompt_tokens": 10, "completion_tokens": 1}, "usage_format": "openai.chat"},
             {"response": {"id": "r", "object": "chat.completion", "model": "gpt-4", "usage": {"prompt_tokens": 10, "completion_tokens": 1}}, "provider": "openai"},
             {"provider": "openai", "model": "whisper-1", "units": {"input_second": 1}},
             {"model": "gpt-4", "amount": "0.5", "reserve": True, "ttl_seconds": 60}]
    answers = [member.ok("POST", "/api/budgets/check", body) for body in asked]
    assert all(a["allowed"] for a in answers)
    member.track(model="gpt-4", input_tokens=1, reservation_id=answers[-1]["reservation_id"])


def test_reprice_takes_dates_of_a_zone(member):
    answer = member.ok("POST", "/api/pricing/reprice?tz=Asia/Tokyo", {"from": "2026-01-01", "to": "2026-01-01", "dry_run": True})
    assert answer["from"] == "2025-12-31T15:00:00.000Z" and answer["to"] == "2026-01-01T15:00:00.000Z"


def test_deliveries_are_paged(pair, own_server):
    server = own_server(**dict(pair[0].settings, WEBHOOK_ALLOW_PRIVATE="on")).start()
    client = sign_up(server.port)
    hook = client.ok("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/", "events": ["model.unpriced"]}, status=201)  # nobody listens
    made = {client.ok("POST", f"/api/webhooks/{hook['id']}/test", status=202)["delivery_id"] for _ in range(2)}
    first = client.ok("GET", f"/api/webhooks/{hook['id']}/deliveries", query={"limit": 1})
    second = client.ok("GET", f"/api/webhooks/{hook['id']}/deliveries", query={"limit": 1, "cursor": first["next_cursor"]})
    assert {d["id"] for d in first["deliveries"] + second["deliveries"]} == made
    client.close()
    server.stop()


def test_forecast_tells_of_budgets(member):
    assert member.ok("GET", "/api/costs/forecast", query={"tz": "UTC"})["budgets"]


def test_every_count_is_taken_and_shown(member):
    counts = [n for n in SCHEMAS["EventInput"]["properties"] if n.endswith("_tokens")]
    assert len(counts) == 15
    wholes = {"input_tokens": 1000, "output_tokens": 1000, "cache_read_tokens": 100, "cache_write_tokens": 100}
    for route in ("/api/events/track", "/api/pricing/estimate", "/api/budgets/check"):
        answer = member.post(route, {"provider": "nobody", "model": "all-counts", **{n: wholes.get(n, 1) for n in counts},
                                     "web_searches": 1, "data_residency": "eu", "inference_geo": "us"})
        assert answer.status in (200, 201), answer


def test_every_unit_is_taken_and_shown(member):
    units = {n: 2 for n in SCHEMAS["UnitsInput"]["properties"]}
    event = member.track(provider="nobody", model="all-units", units=units)
    shown = member.ok("GET", f"/api/events/{event['event_id']}")["units"]
    assert shown == units
    priced = member.track(provider="openai", model="whisper-1", units={"input_second": "9.5"})
    assert priced["pricing"]["breakdown"][0]["per_unit"] is not None


def test_every_category_and_rule_of_an_own_price_is_taken(member):
    prices = {n: "1.5" for n in SCHEMAS["CategoryPricesInput"]["properties"]}
    tiers = [{"above_input_tokens": 1000, **prices}]
    services = {t: {"per_million_tokens": prices, "tiers": tiers} for t in ("batch", "flex", "priority", "fast")}
    answer = member.ok("POST", "/api/pricing/overrides", {
        "provider": "nobody", "model": "whole", "from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "per_million_tokens": prices,
        "per_thousand": {"requests": "1", "web_searches": "10"}, "tiers": tiers, "service_tiers": services, "note": "everything"}, status=201)
    assert answer["per_million_tokens"] == prices
    words = [{w: "x1"} for w in ("equals", "prefix", "suffix", "contains", "regex")]
    for rule in words + [{"all": words[1:3]}, {"any": words[:2]}]:
        member.ok("POST", "/api/pricing/overrides", {"provider": "nobody", "match": rule, "per_million_tokens": {"input": "1"}}, status=201)


def test_the_whole_catalogue_is_as_described(member):
    cursor, n = None, 0
    while True:
        page = member.ok("GET", "/api/pricing/models", query={"limit": 100, **({"cursor": cursor} if cursor else {})})
        n += page["count"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert n > 1000
    assert member.get("/api/pricing/models", query={"provider": "openai", "q": "gpt", "at": "2026-01-01T00:00:00Z"}).status == 200


def test_every_category_of_a_tier_is_shown(pair, own_server, tmp_path):
    """No price of the built-in catalogue has them all, an operator's own file may: also for hours of the day."""
    categories = [n for n in SCHEMAS["PriceTier"]["properties"] if n != "above_input_tokens"]
    low, high = {n: "1.5" for n in categories}, {"above_input_tokens": 1000, **{n: "3" for n in categories}}
    prices = {"per_million_tokens": low, "tiers": [high],
              "windows": [{"utc_from": "01:00:00", "utc_to": "04:00:00", "per_million_tokens": low, "tiers": [high]}]}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"mode": "extend", "providers": [{
        "provider": "acme", "name": "Acme", "usage": {"default": {"like": "openai.chat"}},
        "records": [{"model": "acme-large", "match": [{"equals": "acme-large"}], "prices": [prices]}]}]}))
    client = sign_up(own_server(**pair[0].settings, LLMLAB_PRICING_FILE=str(file)).start().port)
    (model,) = client.ok("GET", "/api/pricing/models", query={"provider": "acme"})["models"]
    client.close()
    shown = {"above_input_tokens": 1000, **{n: 3 for n in categories}}
    assert len(categories) == 15 and model["prices"]["tiers"] == [shown]
    assert model["prices"]["windows"][0]["tiers"] == [shown]
