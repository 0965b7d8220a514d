"""Dismissing, what-if, and the rules as a user meets them: figures are worked out from the events here."""
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import sign_up

UTC = timezone.utc
ROOT = "/api/recommendations"
SIMULATE = ROOT + "/simulate"
# A price of our own for each model, so that no figure depends on the catalogue.
PRICES = {"alpha": (10, 30), "beta": (1, 4)}


def days_ago(n, hour=12):
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=n)
    return (day + timedelta(hours=hour if n else 0)).isoformat()


def cost(model, tokens_in, tokens_out):
    return D(tokens_in * PRICES[model][0] + tokens_out * PRICES[model][1]) / 10 ** 6


@pytest.fixture(scope="module")
def account(server):
    """alpha: 10 calls of 1,000 + i in and 100 out, 10 days long; beta: one call. Both at the user's own prices."""
    client = sign_up(server.port)
    for model, (price_in, price_out) in PRICES.items():
        body = {"provider": "acme", "model": model, "per_million_tokens": {"input": str(price_in), "output": str(price_out)}}
        if model == "beta":
            body["service_tiers"] = {"batch": {"per_million_tokens": {"input": "0.5", "output": "2"}}}
        assert client.post("/api/pricing/overrides", body).status == 201
    client.batch([{"provider": "acme", "model": "alpha", "input_tokens": 1000 + i, "output_tokens": 100, "timestamp": days_ago(1 + i)}
                  for i in range(10)] + [{"provider": "acme", "model": "beta", "input_tokens": 7, "output_tokens": 3}])
    yield client
    client.close()


ALPHA_IN = sum(1000 + i for i in range(10))


def simulate(client, changes, **more):
    return client.ok("POST", SIMULATE, {"changes": changes, **more})


# ---- what-if ----

def test_simulate_other_model_is_exact(account):
    answer = simulate(account, [{"model": "alpha", "to_model": "beta"}])
    was, becomes = cost("alpha", ALPHA_IN, 1000), cost("beta", ALPHA_IN, 1000)
    rest = cost("beta", 7, 3)
    assert (answer["actual"], answer["simulated"]) == (was + rest, becomes + rest)
    assert answer["difference"] == becomes - was
    assert answer["simulated_least"] == answer["simulated_most"] == answer["simulated"]
    assert answer["actual"] == account.ok("GET", "/api/costs/summary")["total_cost"]
    [row] = answer["models"]
    assert (row["provider"], row["model"], row["calls"]) == ("acme", "alpha", 10)
    assert (row["actual"], row["simulated"]) == (was, becomes)
    assert row["actual_tokens_at_these_prices"] == was
    assert row["approximate"] is False and [c["code"] for c in row["caveats"]] == ["same_token_counts"]
    [to] = row["to"]
    assert (to["provider"], to["model"], to["own_price"], to["service_tier"], to["share"]) == ("acme", "beta", True, "standard", 1)


def test_simulate_agrees_with_the_prices_of_single_calls(account):
    """Each event's estimate at the target, added up, is the what-if."""
    total = D(0)
    for i in range(10):
        estimate = account.ok("POST", "/api/pricing/estimate",
                              {"provider": "acme", "model": "beta", "input_tokens": 1000 + i, "output_tokens": 100})
        total += estimate["cost"]
    assert simulate(account, [{"model": "alpha", "to_model": "beta"}])["models"][0]["simulated"] == total


def test_simulate_share_and_service_tier(account):
    was = cost("alpha", ALPHA_IN, 1000)
    answer = simulate(account, [{"provider": "acme", "model": "alpha", "to_model": "beta", "share": "0.0625"},
                                {"model": "alpha", "to_model": "beta", "service_tier": "batch", "share": 0.5}])
    [row] = answer["models"]
    beta = cost("beta", ALPHA_IN, 1000)
    assert row["simulated"] == was * D("0.4375") + beta * D("0.0625") + beta / 2 * D("0.5")
    assert "share_is_even" in [c["code"] for c in row["caveats"]] and row["approximate"] is True
    assert [t["share"] for t in row["to"]] == [D("0.0625"), D("0.5")]


def test_simulate_range_is_that_of_reading_endpoints(account):
    answer = simulate(account, [{"model": "beta", "to_model": "alpha"}], days=1, tz="UTC")
    assert answer["actual"] == cost("beta", 7, 3) and answer["simulated"] == cost("alpha", 7, 3)
    day = days_ago(1)[:10]
    answer = simulate(account, [{"model": "alpha", "to_model": "beta"}], **{"from": day, "to": day})
    assert answer["actual"] == cost("alpha", 1000, 100)
    assert answer["analysis_period"] == {"start": day, "end": day}


def test_simulate_catalogue_model_with_a_step_has_bounds(server):
    """gemini-2.5-pro costs 1.25 / 10 up to 200,000 input tokens and 2.5 / 15 above."""
    client = sign_up(server.port)
    client.batch([{"provider": "openai", "model": "gpt-4", "input_tokens": n, "output_tokens": 1000} for n in (1000, 300000)])
    [row] = simulate(client, [{"model": "gpt-4", "to_provider": "google", "to_model": "gemini-2.5-pro"}])["models"]
    exact = sum(client.ok("POST", "/api/pricing/estimate", {"provider": "google", "model": "gemini-2.5-pro", "input_tokens": n,
                                                           "output_tokens": 1000})["cost"] for n in (1000, 300000))
    assert row["simulated_least"] < exact < row["simulated_most"]
    assert row["simulated_least"] <= row["simulated"] <= row["simulated_most"]
    assert row["approximate"] is True and "price_depends_on_call_size" in [c["code"] for c in row["caveats"]]
    client.close()


def test_simulate_what_tokens_do_not_explain_is_said(server):
    client = sign_up(server.port)
    client.batch([{"provider": "openai", "model": "gpt-4", "input_tokens": 1000, "output_tokens": 10, "cost": "5"}])
    [row] = simulate(client, [{"model": "gpt-4", "to_model": "gpt-4o"}])["models"]
    assert row["actual"] == 5 and "actual_not_explained_by_tokens" in [c["code"] for c in row["caveats"]]
    assert row["actual_tokens_at_these_prices"] == D("0.0306") and row["approximate"] is True
    client.close()


@pytest.mark.parametrize("change, field", [
    ({"model": "never-called", "to_model": "beta"}, "changes[0].model"),
    ({"provider": "other", "model": "alpha", "to_model": "beta"}, "changes[0].model"),
    ({"model": "alpha", "to_model": "no-such-model"}, "changes[0].to_model"),
    ({"model": "alpha", "to_provider": "no-such-provider"}, "changes[0].to_provider"),
    ({"model": "alpha", "service_tier": "batch"}, "changes[0].service_tier"),
    ({"model": "alpha", "to_model": "beta", "service_tier": "slow"}, "changes[0].service_tier"),
    ({"model": "alpha", "to_model": "beta", "share": 0}, "changes[0].share"),
    ({"model": "alpha", "to_model": "beta", "share": "1.1"}, "changes[0].share"),
    ({"model": "alpha", "to_model": "beta", "share": "0.00001"}, "changes[0].share"),
    ({"model": "alpha", "to_modle": "beta"}, "changes[0].to_modle"),
    ({"to_model": "beta"}, "changes[0].model"),
    ({"model": "alpha"}, "changes[0]"),
])
def test_simulate_bad_change_is_named(account, change, field):
    reply = account.post(SIMULATE, {"changes": [change]})
    assert reply.status == 400 and field in reply.fields, reply.fields


@pytest.mark.parametrize("more, field", [({"days": 0}, "days"), ({"tz": "No/Where"}, "tz"), ({"from": "x"}, "from"), ({"prices_at": "x"}, "prices_at"),
                                         ({"range": 1}, "range"), ({"changes": []}, "changes"), ({"changes": [1]}, "changes[0]"),
                                         ({"changes": [{"model": "a", "to_model": "b"}] * 51}, "changes")])
def test_simulate_bad_body_is_named(account, more, field):
    reply = account.post(SIMULATE, {"changes": [{"model": "alpha", "to_model": "beta"}], **more})
    assert reply.status == 400 and any(f == field or f.startswith(field) for f in reply.fields), reply.fields


def test_simulate_shares_above_one_are_refused(account):
    reply = account.post(SIMULATE, {"changes": [{"model": "alpha", "to_model": "beta", "share": "0.6"}] * 2})
    assert reply.status == 400 and reply.fields == {"changes[1].share"}


def test_simulate_prices_of_then(account):
    """An own price of a day long ago holds for prices_at in that day only."""
    then = {"provider": "acme", "model": "gamma", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z",
            "per_million_tokens": {"input": "2", "output": "2"}}
    assert account.post("/api/pricing/overrides", then).status == 201
    answer = simulate(account, [{"model": "beta", "to_model": "gamma"}], prices_at="2026-01-01T12:00:00Z")
    assert answer["models"][0]["simulated"] == D(20) / 10 ** 6
    assert account.post(SIMULATE, {"changes": [{"model": "beta", "to_model": "gamma"}]}).fields == {"changes[0].to_model"}


def test_simulate_stores_nothing(account):
    before = account.ok("GET", "/api/costs/summary")
    simulate(account, [{"model": "alpha", "to_model": "beta"}])
    assert account.ok("GET", "/api/costs/summary") == before


# ---- dismissing ----

@pytest.fixture
def switcher(server):
    """gpt-4 by which much could be saved, twenty calls on each of 30 days."""
    client = sign_up(server.port)
    client.batch([{"provider": "openai", "model": "gpt-4", "input_tokens": 2000 + i, "output_tokens": 300, "timestamp": days_ago(n, hour=i)}
                  for n in range(1, 30) for i in range(20)])
    yield client
    client.close()


def found(client, **query):
    return {o["id"]: o for o in client.ok("GET", ROOT, query=query)["optimizations"]}


def test_dismiss_hides_until_it_is_taken_back(switcher):
    before = switcher.ok("GET", ROOT)
    best = [o for o in before["optimizations"] if o["counted"]][0]
    path = f"{ROOT}/{best['id']}/dismiss"
    first = switcher.ok("POST", path)
    assert first["id"] == best["id"] and first["dismissed_at"].endswith("Z")
    assert switcher.ok("POST", path) == first, "once more changes nothing"
    after = switcher.ok("GET", ROOT)
    assert best["id"] not in {o["id"] for o in after["optimizations"]}
    assert best["id"] not in {s["id"] for s in after["model_recommendations"]}
    assert after["total_potential_savings"] < before["total_potential_savings"]
    assert after["total_potential_savings"] == sum(o["potential_savings"] for o in after["optimizations"] if o["counted"])
    shown = found(switcher, include_dismissed="true")
    assert shown[best["id"]]["dismissed"] is True and shown[best["id"]]["counted"] is False
    assert best["id"] not in {s["id"] for s in switcher.ok("GET", ROOT + "/model-switching")["recommendations"]}
    assert best["id"] in {s["id"] for s in switcher.ok("GET", ROOT + "/model-switching", query={"include_dismissed": "true"})["recommendations"]}
    assert switcher.request("DELETE", path).status == 204
    again = switcher.ok("GET", ROOT)
    assert [o["id"] for o in again["optimizations"]] == [o["id"] for o in before["optimizations"]]
    assert again["total_potential_savings"] == before["total_potential_savings"]
    assert switcher.request("DELETE", path).status == 404


def test_dismiss_is_the_users_own(switcher, steady_other):
    [best] = [o for o in found(switcher).values() if o["counted"]][:1]
    switcher.ok("POST", f"{ROOT}/{best['id']}/dismiss")
    assert best["id"] in found(steady_other)
    assert steady_other.request("DELETE", f"{ROOT}/{best['id']}/dismiss").status == 404


@pytest.fixture
def steady_other(server):
    client = sign_up(server.port)
    client.batch([{"provider": "openai", "model": "gpt-4", "input_tokens": 2000 + i, "output_tokens": 300, "timestamp": days_ago(n, hour=i)}
                  for n in range(1, 30) for i in range(20)])
    yield client
    client.close()


@pytest.mark.parametrize("bad", ["x", "0" * 15, "0" * 17, "G" * 16, "00000000-0000-0000-0000-000000000000"])
def test_dismiss_what_can_be_no_id_is_not_found(user, bad):
    assert user.post(f"{ROOT}/{bad}/dismiss").status == 404
    assert user.request("DELETE", f"{ROOT}/{bad}/dismiss").status == 404


@pytest.mark.parametrize("path", [ROOT, ROOT + "/model-switching"])
def test_include_dismissed_is_true_or_false(user, path):
    assert user.get(path, query={"include_dismissed": "yes"}).fields == {"include_dismissed"}
    assert user.get(path, query={"include_dismissed": "false"}).status == 200


# ---- rules ----

def test_calls_that_can_wait_save_the_batch_discount(account, server):
    """beta has a batch tier at half: of what the tagged calls cost, half can be saved."""
    client = sign_up(server.port)
    client.post("/api/pricing/overrides", {"provider": "acme", "model": "beta", "per_million_tokens": {"input": "1", "output": "4"},
                                           "service_tiers": {"batch": {"per_million_tokens": {"input": "0.5", "output": "2"}}}})
    calls = [{"provider": "acme", "model": "beta", "input_tokens": 100000, "output_tokens": 1000, "timestamp": days_ago(n)} for n in range(1, 8)]
    client.batch([dict(c, tags={"env": "offline"}) for c in calls] + calls)
    [row] = [o for o in found(client).values() if o["type"] == "batch_tier"]
    assert row["potential_savings"] == 7 * D(100000 * 1 + 1000 * 4) / 10 ** 6 / 2
    assert row["evidence"]["calls"] == 7 and row["evidence"]["example"] == "tag env=offline"
    client.close()


def test_long_answers_and_cache_writes_are_found(server):
    client = sign_up(server.port)
    client.batch([{"provider": "anthropic", "model": "claude-sonnet-4-5", "input_tokens": 5000, "cache_write_tokens": 4000,
                   "output_tokens": 8000 if i < 2 else 100, "timestamp": days_ago(1 + i % 20, hour=i % 24)} for i in range(80)])
    spent = client.ok("GET", "/api/costs/summary")["total_cost"]
    answer = client.ok("GET", ROOT)
    by_type = {o["type"]: o for o in answer["optimizations"]}
    # 80 x 4,000 written at 3.75 instead of 3 USD per million
    assert by_type["unused_cache_writes"]["potential_savings"] == D(80 * 4000) * D("0.75") / 10 ** 6
    # all calls are in the sample: 2 x (8,000 - 1,000) x 15 per million
    assert by_type["output_outliers"]["potential_savings"] == D(2 * 7000 * 15) / 10 ** 6
    assert by_type["output_outliers"]["evidence"]["sample_share"] == 1
    assert answer["total_potential_savings"] <= spent
    counted = [o for o in answer["optimizations"] if o["counted"]]
    assert len({(o["provider"], o["model"]) for o in counted}) == len(counted)
    assert answer["total_potential_savings"] == sum(o["potential_savings"] for o in counted)
    client.close()
