"""What GET /metrics tells of money, commits, threads and the process."""
from decimal import Decimal

from llmlab_client import sign_up


def samples(client):
    """{name with labels: value as text}."""
    lines = client.get("/metrics").body.decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_metrics_sum_money_by_provider_exactly_and_bound_the_labels(pair, own_server):
    server = own_server(**pair[0].settings).start()  # whose figures nobody else moves
    user = sign_up(server.port)
    # gpt-4 costs 30 and 60 USD a million: 1000 in and 500 out are 0.06, 3 in is 0.00009
    user.track(model="gpt-4", input_tokens=1000, output_tokens=500)
    user.track(model="gpt-4", input_tokens=3)
    user.track(model="gpt-4", input_tokens=3, idempotency_key="k")
    user.track(model="gpt-4", input_tokens=3, idempotency_key="k", status=200)  # a repeat is counted nowhere
    for i in range(300):
        user.batch([{"provider": f'invented-{i}"\\n', "model": "m", "input_tokens": 1}] if i % 100 == 0 else
                   [{"provider": f"invented-{i}", "model": "m", "input_tokens": 1}])
    found = samples(server.client())
    assert found['llmlab_events_total{provider="openai"}'] == "3"
    assert Decimal(found['llmlab_cost_usd_total{provider="openai"}']) == Decimal("0.06018")
    assert found['llmlab_unpriced_events_total{provider="openai"}'] == "0"
    assert found['llmlab_events_total{provider="other"}'] == found['llmlab_unpriced_events_total{provider="other"}'] == "300"
    assert {name for name in found if name.startswith("llmlab_events_total")} == {
        'llmlab_events_total{provider="openai"}', 'llmlab_events_total{provider="other"}'}
    assert int(found["llmlab_ingest_batch_events_sum"]) == int(found["llmlab_ingest_events_total"]) == 303
    assert int(found["llmlab_ingest_commit_seconds_count"]) == int(found["llmlab_ingest_batches_total"]) > 0
    user.close()
    server.stop()


def test_metrics_tell_threads_connections_and_process(server):
    client = server.client()
    client.get("/api/health")
    found = samples(client)
    assert int(found["llmlab_executor_threads"]) == 8 and int(found["llmlab_password_threads"]) == 2
    assert 0 <= int(found["llmlab_executor_busy_threads"]) <= 8
    assert int(found["llmlab_db_connections"]) >= 1
    assert int(found["process_resident_memory_bytes"]) > 1 << 20 and int(found["process_open_fds"]) > 5
    assert Decimal(found["process_cpu_seconds_total"]) > 0
    assert [name for name in found if name.startswith("llmlab_build_info{version=")]
    client.close()
