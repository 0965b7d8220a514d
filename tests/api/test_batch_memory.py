"""What a batch takes of the server's memory while it is made and waits: bounded, and given back."""
import threading
from pathlib import Path

import pytest

from llmlab_client import sign_up
from llmlab_server import assert_rollups_equal_events, new_secret

MIB = 1024 * 1024
EVENTS = 10000
AT = "2026-06-10T12:00:00Z"
# Freed memory stays in AddressSanitizer's quarantine, which is kept small here, and each piece is larger by its red zones.
ASAN = "detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"


def peak(server):
    """The most that was resident since forget()."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def forget(server):
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    return peak(server)


def is_sanitized(server):
    return "libasan" in Path(f"/proc/{server.process.pid}/maps").read_text() or b"__asan_init" in Path(
        f"/proc/{server.process.pid}/exe").read_bytes()


@pytest.fixture
def server(own_server):
    return own_server(SECRET_KEY=new_secret(), ASAN_OPTIONS=ASAN).start()


def growth(server, users, work):
    """Peak above what a server holds that has answered small batches (connections, statements)."""
    for user in users:
        assert user.request("POST", "/api/events/batch", batch(10)).status == 200
    before = forget(server)
    work()
    return (peak(server) - before) / MIB


def bound(server, mib):
    return 3 * mib if is_sanitized(server) else mib


def batch(n):
    return {"events": [{"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "timestamp": AT}] * n}


def test_batch_of_many_empty_events_takes_little(server):
    user = sign_up(server.port)
    body = ('{"events":[' + ",".join(["{}"] * (MIB // 3)) + "]}").encode()
    few = ('{"events":[' + ",".join(["{}"] * EVENTS) + "]}").encode()

    def work():
        assert user.request("POST", "/api/events/batch", body).status == 413
        answer = user.request("POST", "/api/events/batch", few)
        assert answer.status == 200 and answer.json["rejected"] == EVENTS

    grown = growth(server, [user], work)
    print(f"1 MiB of empty events: {grown:.1f} MiB")
    assert grown < bound(server, 24), grown
    user.close()


def test_batch_of_ten_thousand_takes_less_than_its_share(server):
    user = sign_up(server.port)

    def work():
        answer = user.request("POST", "/api/events/batch", batch(EVENTS))
        assert answer.status == 200 and answer.json["accepted"] == EVENTS, answer

    grown = growth(server, [user], work)
    print(f"one batch of {EVENTS}: {grown:.1f} MiB")
    assert grown < bound(server, 60), grown
    user.close()


def test_many_batches_at_once_are_bounded_by_the_queue(server):
    """Eight times ten thousand events do not fit into a queue of 20,000: what does not is refused before it is made."""
    users = [sign_up(server.port) for _ in range(8)]
    statuses = []

    def work():
        threads = [threading.Thread(target=lambda u=u: statuses.append(
            u.request("POST", "/api/events/batch", batch(EVENTS)).status)) for u in users]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    grown = growth(server, users, work)
    print(f"8 batches of {EVENTS} at once: {grown:.1f} MiB, {statuses}")
    assert set(statuses) <= {200, 503} and 200 in statuses, statuses
    assert grown < bound(server, 140), grown
    database = server.database()
    assert_rollups_equal_events(database)
    database.close()
    for user in users:
        user.close()
