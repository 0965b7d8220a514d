"""An HTTP client that trusts nothing: every answer is checked against the rules that hold for all of them.

Numbers that are money are read as decimal.Decimal, so that a test never compares binary doubles. What a client
must not see in the server's log (passwords, tokens) is remembered in SECRETS.
"""
import decimal
import http.client
import json
import os
import socket
import threading
import time
import urllib.parse
from decimal import Decimal

PASSWORD = "correct horse battery 7 staple"
SECRETS = {PASSWORD}

# A connection that was idle for longer is not used again: the server may be closing it (IDLE_TIMEOUT_SECONDS is 15).
KEEP_SECONDS = 8

# Sums of money have more digits than the 28 that Python rounds to; threads begin with the default context.
decimal.DefaultContext.prec = 100
decimal.getcontext().prec = 100

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def _no_duplicates(pairs):
    members = dict(pairs)
    assert len(members) == len(pairs), f"an object of an answer names a member twice: {pairs}"
    return members


def _no_constant(name):
    raise AssertionError(f"an answer contains {name}, which is not JSON")


def loads(text):
    """JSON with exact decimals; duplicate members, NaN and Infinity are failures."""
    return json.loads(text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)


def dumps(value):
    """JSON with Decimals written digit by digit."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + dumps(v) for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(dumps(v) for v in value) + "]"
    return json.dumps(value)


class Answer:
    def __init__(self, method, target, status, headers, body):
        self.method, self.target, self.status, self.headers, self.body = method, target, status, headers, body

    def header(self, name):
        """The value of a header that is there at most once."""
        values = [v for k, v in self.headers if k.lower() == name.lower()]
        assert len(values) <= 1, f"{name} is sent {len(values)} times"
        return values[0] if values else None

    @property
    def json(self):
        return loads(self.body)

    @property
    def fields(self):
        """The names of the bad fields of a problem."""
        return {e["field"] for e in self.json.get("errors", [])}

    def __repr__(self):
        return f"<{self.method} {self.target}: {self.status} {self.body[:600]!r}>"


def check_common(answer):
    """What the contract says of every answer."""
    assert answer.header("X-Content-Type-Options") == "nosniff", answer
    assert answer.header("Cache-Control") == "no-store", answer
    assert answer.header("X-Request-Id"), answer
    assert answer.header("Server") is None, answer
    if answer.status == 204 or answer.method == "HEAD":
        assert answer.body == b"", answer
        return
    if answer.status >= 400 and not answer.target.startswith("/api/health"):
        check_problem(answer)
    elif answer.header("Content-Type") == "application/json":
        assert answer.json is not None


def check_problem(answer):
    assert answer.header("Content-Type") == "application/problem+json", answer
    problem = answer.json
    assert PROBLEM_MEMBERS <= set(problem), answer
    assert problem["status"] == answer.status, answer
    assert isinstance(problem["detail"], str) and problem["detail"], answer
    assert problem["request_id"] == answer.header("X-Request-Id"), answer
    for error in problem.get("errors", []):
        assert set(error) == {"field", "message"} and error["field"] and error["message"], answer
    if answer.status == 401:
        assert answer.header("WWW-Authenticate").startswith("Bearer"), answer
    if answer.status in (429, 503):
        assert int(answer.header("Retry-After")) >= 1, answer
    if answer.status == 405:
        assert answer.header("Allow"), answer


# With LLMLAB_TRAFFIC every exchange is written down in this folder, for the contract test (tests/contract) to hold against the
# description of the API. Longer bodies are only counted.
TRAFFIC = os.environ.get("LLMLAB_TRAFFIC")
RECORDED_BYTES = 256 * 1024
_traffic_lock = threading.Lock()
_traffic_file = None


def _recordable(body):
    if body is None or len(body) > RECORDED_BYTES:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def record(method, target, headers, body, answer):
    """Writes an exchange down as a line of JSON. body: bytes or None. The token is left out."""
    global _traffic_file
    if TRAFFIC is None:
        return
    line = json.dumps({
        "method": method, "target": target, "headers": {k: str(v) for k, v in headers.items() if k.lower() != "authorization"},
        "body": _recordable(body), "body_bytes": len(body or b""), "status": answer.status, "answer_headers": dict(answer.headers),
        "answer": _recordable(answer.body), "answer_bytes": len(answer.body),
        "test": os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)")})
    with _traffic_lock:
        if _traffic_file is None:
            os.makedirs(TRAFFIC, exist_ok=True)
            _traffic_file = open(os.path.join(TRAFFIC, f"{os.getpid()}.jsonl"), "a", encoding="utf-8")
        _traffic_file.write(line + "\n")
        _traffic_file.flush()


class Client:
    """Talks to one server with one token; each thread has a connection of its own, kept alive."""

    def __init__(self, port, token=None, timeout=60):
        self.port, self.token, self.timeout = port, token, timeout
        self.user_id = self.email = None
        self._local = threading.local()

    def with_token(self, token):
        return Client(self.port, token, self.timeout)

    def on(self, port):
        """The same user at another server."""
        other = Client(port, self.token, self.timeout)
        other.user_id, other.email = self.user_id, self.email
        return other

    def close(self):
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
        self._local.connection = None

    def _exchange(self, method, target, body, headers):
        connection = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used > KEEP_SECONDS:
            self.close()
            connection = None
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            self._local.connection = connection
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        answer = Answer(method, target, response.status, response.getheaders(), response.read())
        self._local.used = time.monotonic()
        if response.will_close:
            self.close()
        return answer

    def request(self, method, target, body=None, headers=None, query=None, check=True):
        """body: bytes as they are, anything else as JSON. query: a dict for the query string."""
        if query:
            target += "?" + urllib.parse.urlencode(query)
        sent = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        if body is not None and not isinstance(body, bytes):
            body = dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        sent = {k: v for k, v in sent.items() if v is not None}
        try:
            answer = self._exchange(method, target, body, sent)
        except (http.client.HTTPException, OSError):
            self.close()
            raise
        record(method, target, sent, body, answer)
        if check:
            check_common(answer)
        return answer

    def get(self, target, query=None, **more):
        return self.request("GET", target, query=query, **more)

    def post(self, target, body=None, **more):
        return self.request("POST", target, body=body, **more)

    def ok(self, method, target, body=None, status=200, **more):
        """The JSON of an answer that must have this status."""
        answer = self.request(method, target, body=body, **more)
        assert answer.status == status, answer
        return answer.json if answer.body else None

    # what tests do all the time

    def track(self, status=201, headers=None, **event):
        return self.ok("POST", "/api/events/track", event, status=status, headers=headers)

    def batch(self, events, **more):
        return self.ok("POST", "/api/events/batch", {"events": events}, **more)

    def events(self, **query):
        """All events of the query, page by page."""
        found, cursor = [], None
        while True:
            page = self.ok("GET", "/api/events/", query={**query, **({"cursor": cursor} if cursor else {})})
            assert page["count"] == len(page["events"])
            found += page["events"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


_counter = iter(range(1, 1 << 62))
_counter_lock = threading.Lock()


def unique(prefix):
    with _counter_lock:
        return f"{prefix}-{next(_counter)}"


def sign_up(port, **body):
    """A new account; returns its client."""
    email = body.pop("email", unique("user") + "@example.com")
    client = Client(port)
    account = {"email": email, "password": PASSWORD, "name": "Test", **body}
    answer = client.ok("POST", "/api/auth/signup", account, status=201)
    client.token, client.user_id, client.email = answer["access_token"], answer["user_id"], email
    SECRETS.add(client.token)
    return client


class Raw:
    """A socket for bytes that no client library would send."""

    def __init__(self, port, timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def read_to_end(self):
        """Everything until the server closes; a timeout is a failure: the connection stayed open."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return self.received
            if not data:
                return self.received
            self.received += data

    def read_until(self, text):
        while text not in self.received:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.received!r}"
            self.received += data
        return self.received

    def read_answer(self, method="GET"):
        """The next answer (with Content-Length, as all of ours)."""
        while b"\r\n\r\n" not in self.received:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.received!r}"
            self.received += data
        answer, rest = parse_answer(self.received, method)
        while answer is None:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.received!r}"
            self.received += data
            answer, rest = parse_answer(self.received, method)
        self.received = rest
        return answer


def parse_answer(data, method="GET"):
    """(answer, rest), or (None, data) while it is not complete."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None, data
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    length = int(dict((k.lower(), v) for k, v in headers).get("content-length", "0"))
    if method == "HEAD" or status in (100, 204):
        length = 0
    if len(rest) < length:
        return None, data
    return Answer(method, "raw", status, headers, rest[:length]), rest[length:]


def parse_answers(data):
    """All complete answers, and what is left."""
    answers = []
    while data:
        answer, rest = parse_answer(data)
        if answer is None:
            break
        answers.append(answer)
        data = rest
    return answers, data
