"""What machinery asks: is it alive, is it ready, what are the figures."""
import re
from datetime import datetime, timedelta, timezone

from llmlab_client import sign_up

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*")*)?\})?'
                    r' (-?[0-9.e+-]+|NaN|[+-]Inf)')


def parse(text):
    """{(name, labels): value} and {name: type}, by the rules of the Prometheus text format 0.0.4."""
    values, types, helped = {}, {}, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types and kind in ("counter", "gauge", "histogram")
            types[name] = kind
        elif line:
            found = SAMPLE.fullmatch(line)
            assert found, line
            key = (found.group(1), found.group(3) or "")
            assert key not in values, f"{key} twice"
            family = re.sub(r"_(bucket|sum|count)$", "", key[0])
            assert key[0] in types or types.get(family) == "histogram", f"{line} has no TYPE"
            values[key] = float(found.group(4))
    return values, types


def metrics(client):
    answer = client.get("/metrics")
    assert answer.status == 200 and answer.header("Content-Type").startswith("text/plain; version=0.0.4")
    return parse(answer.body.decode())


def test_health_says_what_the_seed_asks(server):
    answer = server.client().ok("GET", "/api/health")
    assert answer["status"] == "healthy" and answer["database_connected"] is True
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer["version"]) and answer["uptime_seconds"] >= 0
    when = datetime.fromisoformat(answer["timestamp"].replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - when) < timedelta(seconds=5)


def test_health_live_and_ready_answer_without_token(server):
    client = server.client()
    assert client.get("/api/health/live").status == client.get("/api/health/ready").status == 200
    client.close()


def test_metrics_are_in_the_prometheus_text_format(server):
    values, types = metrics(server.client())
    assert types["llmlab_ingest_events_total"] == "counter" and types["llmlab_http_connections"] == "gauge"
    assert all(v >= 0 for v in values.values())
    for name, kind in types.items():
        if kind == "histogram":
            series = {}
            for (sample, labels), value in values.items():
                if sample == name + "_bucket":
                    rest, bound = re.fullmatch(r'(.*?),?le="([^"]+)"', labels).groups()
                    series.setdefault(rest, []).append((float(bound.replace("+Inf", "inf")), value))
            assert series
            for rest, buckets in series.items():
                assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
                counts = [v for _, v in buckets]
                assert counts == sorted(counts) and counts[-1] == values[(name + "_count", rest)]


def test_metrics_count_what_happens(pair, own_server):
    server = own_server(**pair[0].settings).start()  # whose figures nobody else moves
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1, idempotency_key="m")
    user.track(model="gpt-4", input_tokens=1, idempotency_key="m", status=200)
    user.track(model="no-such-model-for-metrics", input_tokens=1)
    user.close()
    values, _ = metrics(server.client())
    assert [values[(f"llmlab_ingest_{name}_total", "")] for name in ("events", "duplicates", "unpriced", "rejected")] == [2, 1, 1, 0]
    server.stop()


def test_metrics_labels_are_bounded_whatever_is_asked(server):
    client = server.client()
    for i in range(30):
        client.get(f"/api/unknown/{i}/x")
        client.get(f"/api/events/{i}")
    values, _ = metrics(client)
    assert not [labels for _, labels in values if "/unknown" in labels or "unknown/" in labels]
    assert len(values) < 2000
    client.close()
