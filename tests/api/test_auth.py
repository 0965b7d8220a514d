"""Accounts and tokens."""
import base64
import hashlib
import hmac
import json
import threading
import time

import pytest

from llmlab_client import PASSWORD, SECRETS, Client, sign_up, unique
from llmlab_server import new_secret, query, wait_for


@pytest.fixture(scope="module")
def member(pair):
    client = sign_up(pair[0].port)
    yield client
    client.close()


def encode(data):
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(segment):
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def sign(header, payload, key, digest=hashlib.sha256):
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(hmac.new(key.encode(), signed.encode(), digest).digest())}"


# ---- signup, login, me ----

def test_signup_answers_as_the_seed_shows(server):
    email = unique("new") + "@example.com"
    answer = server.client().ok("POST", "/api/auth/signup", {"email": email, "password": PASSWORD, "name": "John Doe"},
                                status=201)
    SECRETS.add(answer["access_token"])
    assert answer["token_type"] == "bearer" and answer["expires_in"] == 86400
    assert len(answer["user_id"]) == 36
    me = Client(server.port, answer["access_token"]).ok("GET", "/api/auth/me")
    assert (me["user_id"], me["email"], me["name"], me["timezone"]) == (answer["user_id"], email, "John Doe", "UTC")
    assert me["created_at"].endswith("Z")


def test_signup_with_taken_email_in_any_case_answers_409(server, user):
    for email in (user.email, user.email.upper(), user.email.capitalize()):
        answer = server.client().post("/api/auth/signup", {"email": email, "password": PASSWORD, "name": "x"})
        assert answer.status == 409 and answer.json["code"] == "email_taken", answer


def test_signup_of_one_email_at_once_makes_one_account(server):
    email, statuses = unique("race") + "@example.com", []

    def one():
        client = server.client()
        answer = client.post("/api/auth/signup", {"email": email, "password": PASSWORD, "name": "x"})
        statuses.append(answer.status)
        client.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [201] + [409] * 7, statuses


@pytest.mark.parametrize("password", ["", "short", "1234567", "password", "password1", "Password123!", "aaaaaaaaaaaa",
                                      "12345678", "qwertyuiop", "é" * 129, "x7$" * 342, "iloveyou", "abc12345"])
def test_signup_with_bad_password_is_refused_with_the_reason(server, password):
    answer = server.client().post("/api/auth/signup", {"email": unique("p") + "@example.com", "password": password,
                                                       "name": "x"})
    assert answer.status == 400 and answer.fields == {"password"}, answer


def test_signup_with_long_or_foreign_password_works_and_is_not_cut(server):
    for password in ("Ünïcödé pässwörd ⚙ 42", "tj7 quv " * 16, "汉字密码很长也可以吗当然可以"):
        SECRETS.add(password)
        email = unique("long") + "@example.com"
        body = {"email": email, "password": password, "name": "x"}
        SECRETS.add(server.client().ok("POST", "/api/auth/signup", body, status=201)["access_token"])
        login = server.client().ok("POST", "/api/auth/login", {"email": email, "password": password})
        SECRETS.add(login["access_token"])
        wrong = server.client().post("/api/auth/login", {"email": email, "password": password[:-1]})
        assert wrong.status == 401


@pytest.mark.parametrize("email", ["", "x", "@", "a@", "@b", "a b@c.de", "a@b@c", "a@b..c", "a@-b.c", "x" * 65 + "@b.de",
                                   "a@" + "b" * 64 + ".de", "a@" + "b." * 130 + "de", "a\n@b.de", "a@b.de\n", "a@b_c.de"])
def test_signup_with_bad_email_is_refused(server, email):
    answer = server.client().post("/api/auth/signup", {"email": email, "password": PASSWORD, "name": "x"})
    assert answer.status == 400 and answer.fields == {"email"}, answer


def test_signup_missing_everything_names_everything(server):
    answer = server.client().post("/api/auth/signup", {})
    assert answer.status == 400 and answer.fields == {"email", "password", "name"}, answer


def test_password_is_stored_as_argon2id_with_a_salt_of_its_own(server, user, other):
    database = server.database()
    hashes = query(database, "SELECT password_hash FROM users WHERE id IN (%s, %s)", (user.user_id, other.user_id))
    database.close()
    assert len(set(hashes)) == 2
    for (text,) in hashes:
        parameters = dict(p.split("=") for p in text.split("$")[3].split(","))
        assert text.startswith("$argon2id$v=19$") and int(parameters["m"]) >= 19456 and int(parameters["t"]) >= 2


def test_login_answers_a_token_whatever_the_case_of_the_email(server, user):
    for email in (user.email, user.email.upper()):
        answer = server.client().ok("POST", "/api/auth/login", {"email": email, "password": PASSWORD})
        SECRETS.add(answer["access_token"])
        assert answer["user_id"] == user.user_id and answer["token_type"] == "bearer"
        assert user.with_token(answer["access_token"]).get("/api/auth/me").status == 200


def test_login_unknown_email_and_wrong_password_are_answered_alike(server, user):
    client = server.client()
    times = {"wrong": [], "unknown": []}
    bodies = set()
    for _ in range(9):
        for kind, email in (("wrong", user.email), ("unknown", unique("nobody") + "@example.com")):
            begin = time.monotonic()
            answer = client.post("/api/auth/login", {"email": email, "password": "not the password at all"},
                                 headers={"X-Request-Id": "same"})
            times[kind].append(time.monotonic() - begin)
            names = tuple(sorted(k for k, _ in answer.headers))
            bodies.add((answer.status, answer.body, answer.header("WWW-Authenticate"), names))
            assert answer.json["detail"] == "Invalid email or password"
    client.close()
    assert len(bodies) == 1 and next(iter(bodies))[0] == 401, bodies
    # both cost one argon2 hash: the fastest of each kind are of one size
    assert 0.5 < min(times["wrong"]) / min(times["unknown"]) < 2.0, times


def test_login_with_hostile_email_is_only_wrong(server):
    for email in ("' OR 1=1 --", "x' UNION SELECT * FROM users --", "%", "_@_", "a@b.de'; DROP TABLE users; --", "\\"):
        answer = server.client().post("/api/auth/login", {"email": email, "password": PASSWORD})
        assert answer.status in (400, 401), answer


def test_me_update_changes_name_and_zone(user):
    before = user.ok("GET", "/api/auth/me")
    after = user.ok("PATCH", "/api/auth/me", {"name": "Zoë", "timezone": "Europe/Berlin"})
    assert after == {**before, "name": "Zoë", "timezone": "Europe/Berlin"}
    assert user.ok("GET", "/api/auth/me") == after
    assert user.ok("PATCH", "/api/auth/me", {}) == after


# ---- logout ----

def test_logout_kills_the_token_here_at_once_and_elsewhere_within_a_second(pair):
    here = sign_up(pair[0].port)
    there = here.on(pair[1].port)
    assert there.get("/api/auth/me").status == 200  # so that the other server has verified it before
    assert here.ok("POST", "/api/auth/logout") == {"message": "Successfully logged out"}
    begin = time.monotonic()
    assert here.get("/api/auth/me").status == 401
    wait_for(lambda: there.get("/api/auth/me").status == 401, "the logout at the other server")
    assert time.monotonic() - begin <= 1.25
    for client in (here, there):
        assert client.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1}).status == 401
        assert client.post("/api/auth/logout").status == 401
        client.close()


def test_logout_leaves_other_sessions_alone(server, user):
    second = server.client().ok("POST", "/api/auth/login", {"email": user.email, "password": PASSWORD})["access_token"]
    SECRETS.add(second)
    user.ok("POST", "/api/auth/logout")
    assert user.get("/api/auth/me").status == 401
    assert user.with_token(second).get("/api/auth/me").status == 200


def test_logout_takes_an_empty_object_too(server, user):
    assert user.post("/api/auth/logout", {"x": 1}).status == 400
    assert user.post("/api/auth/logout", {}).status == 200


# ---- tokens ----

def test_token_signed_like_ours_is_believed(pair, member):
    header, payload, _ = member.token.split(".")
    again = sign(decode(header), decode(payload), pair[0].settings["SECRET_KEY"])
    assert member.with_token(again).get("/api/auth/me").status == 200, "the control: the matrix below must bite"


def token_matrix(token, key):
    """Name and text of every token that must be refused."""
    header, payload, signature = token.split(".")
    claims, head = decode(payload), decode(header)
    now = int(time.time())

    def with_claims(**changes):
        return sign(head, {k: v for k, v in {**claims, **changes}.items() if v is not ...}, key)

    def raw_payload(data):
        signed = f"{header}.{encode(data)}"
        return f"{signed}.{encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"

    text = json.dumps(claims, separators=(",", ":"))
    yield "no signature", f"{header}.{payload}."
    for alg in ("none", "None", "NONE", "hs256", "RS256", "ES256", "HS384", "HS512", "", "HS256 "):
        yield f"alg {alg!r} unsigned", f"{encode({'alg': alg, 'typ': 'JWT'})}.{payload}."
        yield f"alg {alg!r} signed", sign({"alg": alg, "typ": "JWT"}, claims, key)
    yield "HS384", sign({"alg": "HS384", "typ": "JWT"}, claims, key, hashlib.sha384)
    yield "HS512", sign({"alg": "HS512", "typ": "JWT"}, claims, key, hashlib.sha512)
    yield "no alg", sign({"typ": "JWT"}, claims, key)
    yield "alg number", sign({"alg": 256, "typ": "JWT"}, claims, key)
    yield "typ at+jwt", sign({"alg": "HS256", "typ": "at+jwt"}, claims, key)
    yield "crit", sign({"alg": "HS256", "typ": "JWT", "crit": ["x"], "x": 1}, claims, key)
    yield "unknown kid", sign({"alg": "HS256", "typ": "JWT", "kid": "other"}, claims, key)
    yield "embedded key", sign({"alg": "HS256", "typ": "JWT", "jwk": {"kty": "oct", "k": "AA"}}, claims, key)
    yield "empty key", sign(head, claims, "")
    yield "wrong key", sign(head, claims, key[:-1] + ("0" if key[-1] != "0" else "1"))
    for name, value in (("past", now - 1), ("long past", 1), ("missing", ...), ("string", str(now + 999)), ("float", now + 999.5),
                        ("negative", -1), ("zero", 0), ("2^63", 2 ** 63), ("2^63-1 times", 2 ** 63 - 1), ("null", None),
                        ("true", True), ("array", [now + 999]), ("now", now)):
        yield f"exp {name}", with_claims(exp=value)
    for value in (-1, "0", 0.5, 2 ** 63, None, True, [0]):
        yield f"gen {value!r}", with_claims(gen=value)
    for claim in ("nbf", "iat"):
        for name, value in (("future", now + 3600), ("string", "1"), ("missing", ...), ("negative", -5), ("null", None)):
            yield f"{claim} {name}", with_claims(**{claim: value})
    for claim in ("iss", "aud", "sub", "jti"):
        for value in ("other", "", None, 5, ["x"], ..., True):
            yield f"{claim} {value!r}", with_claims(**{claim: value})
    yield "aud in a list", with_claims(aud=[claims["aud"]])
    yield "another user that does not exist in a form that is none", with_claims(sub=claims["sub"] + "0")
    yield "sub with a NUL", with_claims(sub=claims["sub"] + "\0")
    yield "duplicate exp", raw_payload((text[:-1] + f',"exp":{now + 9999}}}').encode())
    yield "duplicate sub", raw_payload((text[:-1] + ',"sub":"01890a5d-ac96-774b-bcce-b302099a8057"}').encode())
    yield "NUL tail", raw_payload(text.encode() + b"\0{}")
    yield "tail", raw_payload(text.encode() + b" x")
    yield "array payload", raw_payload(b"[" + text.encode() + b"]")
    yield "string payload", raw_payload(b'"x"')
    yield "empty payload", raw_payload(b"")
    yield "not JSON", raw_payload(b"\xff\xfe")
    yield "deep", raw_payload(b"[" * 1200)
    for shape in ("..", ".a.", "a..", "...", ".", "a.b", "a.b.c", "", " ", "a", f"{header}..{signature}", f".{payload}.{signature}",
                  f"{header}.{payload}.{signature}.x", f"{token}.", f".{token}", f"{header}.{payload}", f"{token}=", f"{token} x",
                  f"{header}.{payload}={'.'}{signature}", f"{header} .{payload}.{signature}", f"{header}.{payload}.{signature[:-1]}"):
        yield f"shape {shape[:12]!r} {len(shape)}", shape
    yield "signature in the other base64 alphabet", f"{header}.{payload}." + signature.replace("-", "+").replace("_", "/") + "="
    yield "signature cut", f"{header}.{payload}.{signature[:20]}"
    yield "signature one bit", f"{header}.{payload}.{('A' if signature[0] != 'A' else 'B') + signature[1:]}"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 43 characters hold 258 bits: the last has two that belong to nothing, a second spelling of the same signature
    yield "signature spelt otherwise", token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    yield "payload of another", f"{header}.{encode({**claims, 'sub': claims['jti']})}.{signature}"
    yield "huge", f"{header}.{'A' * 8000}.{signature}"
    yield "long", f"{header}.{'A' * 2500}.{signature}"


def test_token_matrix_every_forgery_is_refused_alike(pair, member):
    bodies = set()
    for name, token in token_matrix(member.token, pair[0].settings["SECRET_KEY"]):
        answer = member.get("/api/auth/me", headers={"Authorization": f"Bearer {token}", "X-Request-Id": "same"})
        assert answer.status == 401, (name, answer)
        if token.strip() and " " not in token.strip():
            assert answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"', (name, answer)
            bodies.add(answer.body)
    assert len(bodies) == 1, bodies
    assert member.get("/api/auth/me").status == 200


def test_token_far_too_long_is_refused(pair, member):
    client = Client(pair[0].port)
    answer = client.get("/api/auth/me", headers={"Authorization": "Bearer " + "A" * 100_000}, check=False)
    assert answer.status in (400, 401, 413, 414, 431), answer
    client.close()


def test_token_of_a_user_that_does_not_exist_is_refused(pair, member):
    header, payload, _ = member.token.split(".")
    claims = {**decode(payload), "sub": "01890a5d-ac96-774b-bcce-b302099a8057", "jti": "01890a5d-ac96-774b-bcce-b302099a8058"}
    ghost = member.with_token(sign(decode(header), claims, pair[0].settings["SECRET_KEY"]))
    assert ghost.get("/api/auth/me").status == 401
    assert ghost.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1}).status == 401
    batch = ghost.post("/api/events/batch", {"events": [{"model": "gpt-4", "input_tokens": 1}]})
    assert batch.status == 401, batch


def test_token_of_the_previous_key_is_accepted_while_keys_change(pair, own_server, member):
    settings = dict(pair[0].settings, SECRET_KEY=new_secret(), SECRET_KEY_PREVIOUS=pair[0].settings["SECRET_KEY"])
    changing = own_server(**settings).start()
    assert member.on(changing.port).get("/api/auth/me").status == 200
    fresh = sign_up(changing.port)
    assert fresh.on(pair[0].port).get("/api/auth/me").status == 401
    changing.stop()
    del settings["SECRET_KEY_PREVIOUS"]
    changed = own_server(**settings).start()
    assert fresh.on(changed.port).get("/api/auth/me").status == 200
    assert member.on(changed.port).get("/api/auth/me").status == 401
    changed.stop()


def test_token_expires_as_the_setting_says(pair, own_server):
    server = own_server(**pair[0].settings, ACCESS_TOKEN_EXPIRE_MINUTES="90").start()
    email = unique("short") + "@example.com"
    answer = server.client().ok("POST", "/api/auth/signup", {"email": email, "password": PASSWORD, "name": "x"}, status=201)
    SECRETS.add(answer["access_token"])
    claims = decode(answer["access_token"].split(".")[1])
    assert answer["expires_in"] == 5400 and claims["exp"] - claims["iat"] == 5400
    server.stop()


# ---- limits ----

def test_login_limit_answers_429_and_ends_when_it_says(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_AUTH_PER_MINUTE="30")).start()
    client = server.client()
    body = {"email": "nobody@example.com", "password": "does not matter here"}
    # one of them for each account: what an account waits after its own failures is another matter
    answers = []
    while len(answers) < 300 and [a.status for a in answers].count(429) < 3:
        answers.append(client.post("/api/auth/login", {**body, "email": unique("nobody") + "@example.com"}))
    assert [a.status for a in answers[:30]] == [401] * 30
    limited = [a for a in answers if a.status == 429]
    assert limited and limited[0].json["code"] == "rate_limited", answers[-1]
    for answer in answers:
        assert 'q=30' in answer.header("RateLimit-Policy") and 'w=60' in answer.header("RateLimit-Policy"), answer.headers
        assert 'r=' in answer.header("RateLimit"), answer.headers
    assert "r=0" in limited[0].header("RateLimit")
    wait = int(limited[-1].header("Retry-After"))
    assert 1 <= wait <= 3, "one more every 60 / 30 = 2 seconds"
    wait_for(lambda: sign_up_refused(server), "a signup that is refused")
    end = time.monotonic() + wait
    while time.monotonic() < end:
        assert client.get("/api/health/live").status == 200  # other routes are not limited by it
        time.sleep(0.05)
    assert client.post("/api/auth/login", body).status == 401
    client.close()
    server.stop()


def sign_up_refused(server):
    """Signups count together with logins."""
    body = {"email": unique("late") + "@example.com", "password": PASSWORD, "name": "x"}
    answer = server.client().post("/api/auth/signup", body)
    if answer.status == 201:
        SECRETS.add(answer.json["access_token"])
    return answer.status == 429


def test_limits_at_their_largest_values_still_work(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_AUTH_PER_MINUTE="1000000",
                               RATE_READ_PER_MINUTE="1000000000", RATE_INGEST_PER_SECOND="1000000000")).start()
    client = sign_up(server.port)
    for _ in range(5):
        client.track(model="gpt-4", input_tokens=1)
        assert client.get("/api/events").status == 200
    client.close()
    server.stop()


def test_ingest_limit_answers_429_and_nothing_is_stored_beyond_it(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_INGEST_PER_SECOND="3")).start()
    client = sign_up(server.port)
    statuses = []
    while statuses.count(429) < 3:
        assert len(statuses) < 500, statuses
        statuses.append(client.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1}).status)
    assert set(statuses) == {201, 429}, statuses
    assert len(client.events()) == statuses.count(201)
    client.close()
    server.stop()


# ---- sessions live in no process ----

def test_session_survives_a_restart_and_a_kill(own_server):
    server = own_server().start()
    client = sign_up(server.port)
    first = client.track(model="gpt-4", input_tokens=1000, output_tokens=500)
    server.stop()
    server.start()
    again = client.on(server.port)
    assert again.get("/api/auth/me").status == 200
    again.ok("POST", "/api/auth/logout")
    server.kill()
    server.start()
    again = client.on(server.port)
    assert again.get("/api/auth/me").status == 401, "a logout is for ever"
    login = again.ok("POST", "/api/auth/login", {"email": client.email, "password": PASSWORD}, headers={"Authorization": None})
    SECRETS.add(login["access_token"])
    found = again.with_token(login["access_token"]).events()
    assert [e["event_id"] for e in found] == [first["event_id"]]
    server.stop()
