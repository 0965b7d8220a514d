"""Requests that ask the same at once are answered together, and nobody is told what was true before he asked, or what is another's."""
import datetime
import threading
from decimal import Decimal as D

from accounts_fixtures import new_key
from llmlab_client import Client, Raw, check_common, sign_up

SUMMARY = "/api/costs/summary"
ROUNDS = 200
WIDTH = 8  # connections of each thread that asks


def shared(port):
    name = "llmlab_http_requests_shared_total "
    lines = Client(port).get("/metrics").body.decode().splitlines()
    return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))


def run(*works):
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as failure:  # told by the main thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


class Spender:
    """A user whose calls all cost the same, and how many of them have begun and are stored for sure."""

    def __init__(self, port, cost, input_tokens):
        self.client, self.port = sign_up(port), port
        self.cost, self.input_tokens = D(cost), input_tokens
        self.begun = self.stored = 0
        self.asking = 0
        self.lock = threading.Lock()

    def spend(self):
        """One call after the other while somebody asks; nobody else counts."""
        client = Client(self.port, self.client.token)
        while self.begun < 5 or self.asking > 0:
            self.begun += 1
            client.track(model="gpt-4", input_tokens=self.input_tokens)
            self.stored += 1
        client.close()

    def ask(self, targets, token=None):
        """Each of many connections asks, then all answers are looked at."""
        token = token or self.client.token
        connections = [Raw(self.port, timeout=60) for _ in range(WIDTH)]
        head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        try:
            for i in range(ROUNDS):
                told = []
                for connection in connections:
                    told.append(self.stored)
                    connection.send(f"GET {targets[i % len(targets)]} {head}")
                for connection, stored in zip(connections, told):
                    self.check(connection.read_answer(), stored)
        finally:
            for connection in connections:
                connection.socket.close()
            with self.lock:
                self.asking -= 1

    def check(self, answer, stored):
        check_common(answer)
        assert answer.status == 200, answer
        told = answer.json
        assert stored <= told["call_count"] <= self.begun, (stored, self.begun, answer)
        assert told["total_cost"] == self.cost * told["call_count"], answer

    def refused(self, status, target, token):
        """Others ask what is refused meanwhile; each refusal is its own."""
        client, seen = Client(self.port, token), set()
        for _ in range(ROUNDS):
            answer = client.get(target)
            assert answer.status == status, answer
            seen.add(answer.json["request_id"])
        assert len(seen) == ROUNDS
        client.close()

    def end(self):
        assert self.begun == self.stored
        self.check(self.client.get(SUMMARY), self.stored)
        self.client.close()


def test_what_was_answered_201_is_in_every_answer_that_is_asked_for_afterwards(server):
    """Four threads with eight connections each, while one records. A range that ends now is the hard one: its end is not the leader's."""
    spender = Spender(server.port, "0.06", 2000)
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    open_range = f"{SUMMARY}?from={yesterday:%Y-%m-%dT%H:%M:%SZ}"
    before = shared(server.port)
    spender.asking = 4
    run(spender.spend, *[lambda: spender.ask([SUMMARY, open_range])] * 4,
        lambda: spender.refused(400, SUMMARY + "?days=none", spender.client.token),
        lambda: spender.refused(401, SUMMARY, "none"))
    spender.end()
    assert shared(server.port) > before


def test_two_users_who_ask_the_same_never_see_each_other(server):
    spenders = [Spender(server.port, "0.06", 2000), Spender(server.port, "0.00009", 3)]
    before = shared(server.port)
    for spender in spenders:
        spender.asking = 2
    run(*[spender.spend for spender in spenders], *[lambda s=spender: s.ask([SUMMARY]) for spender in spenders * 2])
    for spender in spenders:
        spender.end()
    assert shared(server.port) > before


def test_keys_of_one_user_share_his_answers(server):
    """A session and a key that may only read: who asks does not matter, whose numbers they are does."""
    spender = Spender(server.port, "0.06", 2000)
    key = new_key(spender.client, scope="read")["key"]
    spender.asking = 2
    run(spender.spend, lambda: spender.ask([SUMMARY]), lambda: spender.ask([SUMMARY], key))
    spender.end()
