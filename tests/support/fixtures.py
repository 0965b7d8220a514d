"""Fixtures that the API and the fault tests share. Servers live as long as the test session."""
import contextlib
import os
import signal

import pytest

from llmlab_client import sign_up
from llmlab_server import PATIENT, PROCESSES, Postgres, Server, end_all, new_secret

SHARED = []  # one running server for each database that lives as long as the session


@pytest.fixture(scope="session", autouse=True)
def no_process_left():
    def on_sigterm(*_):
        end_all()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_sigterm)  # a run that takes too long is ended by it
    yield
    left, orphans = end_all()
    assert not left and not orphans, f"processes were left running: {left} {orphans}"


@pytest.fixture(scope="session")
def server(no_process_left):
    """The server as the README's first command starts it: with a private PostgreSQL."""
    one = Server(**PATIENT).start()
    SHARED.append(one)
    yield one
    SHARED.remove(one)
    one.stop()


@pytest.fixture(scope="session")
def postgres(no_process_left):
    """A PostgreSQL for servers with DATABASE_URL."""
    one = Postgres().start()
    yield one
    log = one.log
    one.stop()
    assert "deadlock detected" not in log, log


@pytest.fixture(scope="session")
def pair(postgres):
    """Two servers on one database."""
    settings = {"DATABASE_URL": postgres.create("pair"), "SECRET_KEY": new_secret(), **PATIENT}
    with contextlib.ExitStack() as ends:
        two = Server(**settings), Server(**settings)
        for one in two:
            one.start()
            ends.callback(one.stop)
        SHARED.append(two[0])
        ends.callback(SHARED.remove, two[0])
        yield two


@pytest.fixture
def user(server):
    """A new account at the server."""
    client = sign_up(server.port)
    yield client
    client.close()


@pytest.fixture
def other(server):
    """Another one."""
    client = sign_up(server.port)
    yield client
    client.close()


@pytest.fixture
def own_server(no_process_left):
    """Makes servers that one test starts, stops and kills as it likes; ends what still runs."""
    made = []

    def make(**settings):
        made.append(Server(**settings))
        return made[-1]

    def finish(one):
        if one.process is not None and one.process in PROCESSES:
            assert one.running(), f"ended by itself with {one.end(0)}:\n{one.log[-3000:]}"
            one.stop()

    yield make
    with contextlib.ExitStack() as ends:
        for one in made:
            ends.callback(finish, one)
