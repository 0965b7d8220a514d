"""A new process takes over the port from an old one: no connection is refused, no request is broken, no event is lost."""
import http.client
import json
import socket
import threading

import pytest

from llmlab_client import sign_up
from llmlab_server import Server, new_secret, query, wait_for

TAKEOVERS = 4


@pytest.fixture
def listener():
    """The supervisor's socket: it is there before, between and after the servers."""
    one = socket.create_server(("127.0.0.1", 0), backlog=512)
    yield one
    one.close()


class Load(threading.Thread):
    """Tracks one event after the other until told to stop. A keep-alive client, or one with a connection for each."""

    def __init__(self, port, token, keep_alive):
        super().__init__()
        self.port, self.token, self.keep_alive = port, token, keep_alive
        self.acked, self.wrong = 0, []
        self.ends = threading.Event()

    def run(self):
        connection = None
        while not self.ends.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request("POST", "/api/events/track", json.dumps({"model": "gpt-4", "input_tokens": 1}),
                                   {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"})
                answer = connection.getresponse()
                body = answer.read()
            except OSError as e:
                self.wrong.append(repr(e))
                return
            if answer.status == 201:
                self.acked += 1
            else:
                self.wrong.append(f"{answer.status} {body[:200]}")
            if not self.keep_alive or answer.getheader("Connection", "").lower() == "close":
                connection.close()
                connection = None


def test_takeover_of_the_port_breaks_nothing(postgres, listener):
    settings = {"DATABASE_URL": postgres.create("takeover"), "SECRET_KEY": new_secret()}
    port = listener.getsockname()[1]

    def start():
        one = Server(**settings)
        one.listen_socket = listener
        one.start()
        assert one.port == port
        return one

    now = start()
    user = sign_up(now.port)
    loads = [Load(port, user.token, keep_alive=i % 2 == 0) for i in range(8)]
    for load in loads:
        load.start()
    for _ in range(TAKEOVERS):
        before = sum(load.acked for load in loads)
        wait_for(lambda: sum(load.acked for load in loads) > before + 50, "events in between")
        after = start()
        now.stop()
        now = after
    before = sum(load.acked for load in loads)
    wait_for(lambda: sum(load.acked for load in loads) > before + 50, "events after the last one")
    for load in loads:
        load.ends.set()
    for load in loads:
        load.join()
    assert [w for load in loads for w in load.wrong] == []
    with now.database() as database:
        assert query(database, "SELECT count(*) FROM events")[0][0] == sum(load.acked for load in loads)
        assert query(database, "SELECT sum(calls) FROM usage_hour")[0][0] == sum(load.acked for load in loads)
    now.stop()


def test_restart_one_after_the_other_refuses_nothing(postgres, listener):
    """What systemd does with a socket unit: while no process is there, connections wait in the socket."""
    one = Server(DATABASE_URL=postgres.create("restart"), SECRET_KEY=new_secret())
    one.listen_socket = listener
    one.start()
    user = sign_up(one.port)
    one.stop()
    load = Load(listener.getsockname()[1], user.token, keep_alive=False)
    load.start()  # nobody is there yet
    one.start()
    wait_for(lambda: load.acked > 10, "events")
    load.ends.set()
    load.join()
    assert load.wrong == []
    one.stop()


def test_what_is_no_listening_socket_is_refused(postgres):
    one = Server(DATABASE_URL=postgres.create("nosocket"), SECRET_KEY=new_secret())
    with socket.socket() as not_listening:
        one.listen_socket = not_listening
        one.spawn()
        assert one.end(0) == 1
    assert "exactly one listening TCP socket" in one.log
