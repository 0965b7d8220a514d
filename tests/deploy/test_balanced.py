"""Three servers on one database behind a load balancer: clients see one."""
import contextlib
import os
import shutil
import subprocess
import threading
from decimal import Decimal as D

import pytest

from llmlab_client import Client, sign_up
from llmlab_server import PROCESSES, Server, assert_rollups_equal_events, connect, free_port, make_folder, new_secret, query, wait_for

CONFIG = """
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    option redispatch
frontend one
    bind 127.0.0.1:{port}
    default_backend all
backend all
    balance roundrobin
    option httpchk GET /api/health/ready
    {servers}
"""


@pytest.fixture(scope="module")
def trio(postgres):
    settings = {"DATABASE_URL": postgres.create("balanced"), "SECRET_KEY": new_secret(), "TRUST_PROXY": "127.0.0.1"}
    servers = [Server(**settings).start() for _ in range(3)]
    yield servers
    for server in servers:
        server.stop()


@contextlib.contextmanager
def behind(servers):
    """The port of a HAProxy that gives each request to the next server."""
    port = free_port()
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "haproxy is missing (see scripts/packages.txt)"
    config = make_folder() / "haproxy.cfg"
    config.write_text(CONFIG.format(port=port, servers="\n    ".join(
        f"server s{i} 127.0.0.1:{server.port} check inter 200ms" for i, server in enumerate(servers))))
    process = subprocess.Popen([program, "-db", "-f", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    PROCESSES.append(process)

    def ready():
        try:
            return Client(port, timeout=5).request("GET", "/api/health/ready", check=False).status == 200
        except OSError:
            return False

    wait_for(ready, "HAProxy")
    yield port
    process.terminate()
    process.wait(30)
    PROCESSES.remove(process)


@pytest.fixture(scope="module")
def balancer(trio):
    with behind(trio) as port:
        yield port


def requests_of(server):
    text = server.client().request("GET", "/metrics", check=False).body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("llmlab_http_requests_total{"))


def test_events_at_three_servers_count_once(trio, balancer):
    """Each key goes to all three servers, more than once and at the same time."""
    user = sign_up(balancer)
    failures = []

    def work(i):
        client = user.on(balancer)
        for n in range(60):
            name = f"e{(i // 3) * 100 + n}"  # three workers have the same keys
            answer = client.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "idempotency_key": name, "customer": name,
                                                       "timestamp": "2026-06-10T12:00:00Z"})
            if answer.status not in (200, 201):
                failures.append(answer)
        client.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]
    database = connect(trio[0].settings["DATABASE_URL"])
    assert query(database, "SELECT count(*), count(DISTINCT customer) FROM events WHERE user_id = %s", (user.user_id,)) == [(240, 240)]
    assert_rollups_equal_events(database)
    database.close()
    for server in trio:
        summary = user.on(server.port).ok("GET", "/api/costs/summary", query={"from": "2026-06-01T00:00:00Z", "to": "2026-07-01T00:00:00Z"})
        assert (summary["call_count"], summary["total_cost"]) == (240, 240 * D("0.00003"))
    assert all(requests_of(server) > 100 for server in trio), "the balancer must have used all three"


def test_logout_through_one_holds_at_all(trio, balancer):
    user = sign_up(balancer)
    assert user.post("/api/auth/logout").status == 200
    for server in trio:
        wait_for(lambda: user.on(server.port).get("/api/costs/summary").status == 401, "the logout everywhere")


def test_server_that_ends_is_missed_by_nobody(trio, balancer):
    """It says that it is not ready, answers what it has, and the others go on."""
    user = sign_up(balancer)
    wrong, ends, acked = [], threading.Event(), []

    def work():
        client = user.on(balancer)
        while not ends.is_set():
            answer = client.request("POST", "/api/events/track", {"model": "gpt-4", "input_tokens": 1}, check=False)
            (acked if answer.status == 201 else wrong).append(answer)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    wait_for(lambda: len(acked) > 100, "some load")
    port = trio[2].port
    trio[2].stop()
    seen = len(acked)
    wait_for(lambda: len(acked) > seen + 100, "load without it")
    trio[2].settings["PORT"] = port
    trio[2].start()
    ends.set()
    for t in threads:
        t.join()
    # what met the closed port is the balancer's own 503, and nothing of it was stored
    assert {a.status for a in wrong} <= {502, 503}
    assert user.ok("GET", "/api/costs/summary")["call_count"] == len(acked)
