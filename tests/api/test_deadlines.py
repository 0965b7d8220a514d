"""Slow clients are cut at the deadlines that the settings name; nobody else notices."""
import socket
import threading
import time

import pytest

from llmlab_client import Raw, sign_up
from llmlab_server import Server

HEADER_SECONDS, BODY_SECONDS, IDLE_SECONDS = 1, 2, 2
SLACK = 1.5  # of a loaded machine; the loop's own timers are finer


@pytest.fixture(scope="module")
def hasty(pair):
    server = Server(**pair[0].settings, HEADER_TIMEOUT_SECONDS=HEADER_SECONDS, BODY_TIMEOUT_SECONDS=BODY_SECONDS,
                    IDLE_TIMEOUT_SECONDS=IDLE_SECONDS).start()
    yield server
    server.stop()


def closed_after(raw, trickle=b""):
    """Seconds until the server closes, while a byte is sent every 0.2 s."""
    begin = time.monotonic()
    raw.socket.settimeout(0.2)
    while time.monotonic() - begin < 10:
        try:
            if not raw.socket.recv(65536):
                return time.monotonic() - begin
        except socket.timeout:
            pass
        except ConnectionResetError:
            return time.monotonic() - begin
        try:
            raw.socket.sendall(trickle)
        except OSError:
            return time.monotonic() - begin
    return None


def test_slow_clients_are_closed_at_their_deadline(hasty):
    member = sign_up(hasty.port)
    head = (f"POST /api/events/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 60\r\n\r\n")
    cases = {
        "silent": ("", b"", HEADER_SECONDS, IDLE_SECONDS),
        "half a header": ("GET /api/health/live HTTP/1.1\r\nHo", b"", HEADER_SECONDS, HEADER_SECONDS),
        "a header byte at a time": ("GET /api/health/live HTTP/1.1\r\nX-Slow: ", b"a", HEADER_SECONDS, HEADER_SECONDS),
        "half a body": (head + '{"model":', b"", BODY_SECONDS, BODY_SECONDS),
        "a body byte at a time": (head, b" ", BODY_SECONDS, BODY_SECONDS),
        "a slow chunked body": (head.replace("Content-Length: 60", "Transfer-Encoding: chunked"), b"1\r\n \r\n",
                                BODY_SECONDS, BODY_SECONDS),
    }
    results = {}

    def attack(name, begin, trickle):
        with Raw(hasty.port) as raw:
            raw.send(begin)
            results[name] = closed_after(raw, trickle)

    def idle():
        with Raw(hasty.port) as raw:
            raw.send("GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            raw.read_answer()
            results["idle"] = closed_after(raw)

    threads = [threading.Thread(target=attack, args=(n, b, t)) for n, (b, t, _, _) in cases.items()]
    threads.append(threading.Thread(target=idle))
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(t.is_alive() for t in threads):
        begin = time.monotonic()
        assert member.track(model="gpt-4", input_tokens=1)["cost"] is not None
        slowest = max(slowest, time.monotonic() - begin)
    for name, (_, _, least, most) in cases.items():
        assert results[name] is not None, f"{name}: never closed"
        assert least - 0.3 <= results[name] <= most + SLACK, (name, results[name])
    assert IDLE_SECONDS - 0.3 <= results["idle"] <= IDLE_SECONDS + SLACK, results["idle"]
    assert slowest < 1.0, slowest
    member.close()


def test_many_slow_clients_leave_room_for_good_ones(hasty):
    slow = [Raw(hasty.port) for _ in range(200)]
    for raw in slow:
        raw.send("GET /api/health/live HTTP/1.1\r\nX-Slow: ")
    begin = time.monotonic()
    client = hasty.client()
    for _ in range(20):
        assert client.get("/api/health/live").status == 200
    assert time.monotonic() - begin < 2.0
    client.close()
    for raw in slow:
        raw.socket.settimeout(HEADER_SECONDS + SLACK + 2)
        raw.read_to_end()
        raw.socket.close()


def test_garbage_is_closed_by_the_deadline_without_harm(hasty):
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, b"\x00" * 200 + b"\r\n\r\n", b"\r\n" * 50,
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b" \r\n\r\n", b"\x00", b"\n"):
        with Raw(hasty.port) as raw:
            raw.send(data)
            raw.socket.shutdown(socket.SHUT_WR)
            assert b" 200 " not in raw.read_to_end(), data
    assert hasty.client().get("/api/health/live").status == 200
