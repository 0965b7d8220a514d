"""New passwords and the end of accounts: what dies, where, how fast, and what must not be touched."""
import threading
import time

import pytest

from accounts_fixtures import login, new_key, rows_of, trio, user_tables  # noqa: F401 (trio is a fixture)
from llmlab_client import PASSWORD, SECRETS, Client, sign_up, unique
from llmlab_server import query, wait_for

NEW_PASSWORD = "another horse, battery 9 staple"
SECRETS.add(NEW_PASSWORD)
EVENT = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}


def change(client, current=PASSWORD, new=NEW_PASSWORD):
    answer = client.post("/api/auth/password", {"current_password": current, "new_password": new})
    if answer.status == 200:
        SECRETS.add(answer.json["access_token"])
    return answer


def seconds_until_dead(clients, path="/api/auth/me"):
    """Asks each every 10 ms until it is refused; how long the last one took."""
    begin, took = time.monotonic(), []

    def watch(client):
        wait_for(lambda: client.get(path).status == 401, "the end of a session")
        took.append(time.monotonic() - begin)

    threads = [threading.Thread(target=watch, args=(c,)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(took) == len(clients)
    return max(took)


# ---- a new password ----

def test_password_change_answers_a_token_and_only_the_new_password_logs_in(trio):
    member = sign_up(trio[0].port)
    answer = change(member)
    assert answer.status == 200, answer
    assert set(answer.json) == {"access_token", "token_type", "expires_in", "user_id"}
    assert answer.json["user_id"] == member.user_id
    assert member.get("/api/auth/me").status == 401, "the session that asked gets a new token too"
    fresh = member.with_token(answer.json["access_token"])
    for server in trio:
        assert fresh.on(server.port).get("/api/auth/me").status == 200
        assert login(server.client(), member.email).status == 401
        assert login(server.client(), member.email, NEW_PASSWORD).status == 200


def test_password_change_kills_every_other_session_on_three_servers_within_a_second(trio):
    first = sign_up(trio[0].port)
    second = first.with_token(login(trio[1].client(), first.email).json["access_token"])
    sessions = [s.on(server.port) for s in (first, second) for server in trio]
    for s in sessions:
        assert s.get("/api/auth/me").status == 200  # verified and remembered everywhere
    fresh = first.with_token(change(first).json["access_token"])
    assert seconds_until_dead(sessions) <= 1.25
    for server in trio:
        assert fresh.on(server.port).get("/api/auth/me").status == 200
    for s in sessions:
        assert s.post("/api/events/track", EVENT).status == 401
        assert s.post("/api/auth/logout").status == 401


def test_logout_kills_one_session_on_three_servers_within_a_second(trio):
    first = sign_up(trio[0].port)
    second = first.with_token(login(trio[1].client(), first.email).json["access_token"])
    for server in trio:
        assert first.on(server.port).get("/api/auth/me").status == 200
    first.ok("POST", "/api/auth/logout")
    assert seconds_until_dead([first.on(server.port) for server in trio]) <= 1.25
    assert second.on(trio[2].port).get("/api/auth/me").status == 200


def test_password_change_leaves_api_keys_and_other_users_alone(trio):
    member, other = sign_up(trio[0].port), sign_up(trio[0].port)
    key = Client(trio[1].port, new_key(member)["key"])
    assert key.get("/api/events").status == 200
    assert change(member).status == 200
    assert seconds_until_dead([member.on(trio[1].port)]) <= 1.25
    assert key.get("/api/events").status == 200
    assert other.on(trio[1].port).get("/api/auth/me").status == 200


def test_password_changed_many_times_lets_only_the_last_session_live(trio):
    member = sign_up(trio[0].port)
    current, old = PASSWORD, []
    for i in range(4):
        new = f"change {i} of a horse's password"
        SECRETS.add(new)
        old.append(member)
        member = member.on(trio[i % 3].port).with_token(change(member.on(trio[i % 3].port), current, new).json["access_token"])
        current = new
    for server in trio:
        assert member.on(server.port).get("/api/auth/me").status == 200
    assert seconds_until_dead([o.on(server.port) for o in old for server in trio]) <= 1.25


def test_password_change_with_wrong_current_password_changes_nothing(trio):
    member = sign_up(trio[0].port)
    answer = change(member, current="not the password at all")
    assert answer.status == 401 and answer.json["code"] == "invalid_credentials", answer
    assert member.get("/api/auth/me").status == 200
    assert login(trio[0].client(), member.email).status == 200


@pytest.mark.parametrize("body,fields", [
    ({}, {"current_password", "new_password"}),
    ({"current_password": PASSWORD}, {"new_password"}),
    ({"current_password": PASSWORD, "new_password": "short"}, {"new_password"}),
    ({"current_password": PASSWORD, "new_password": "password123"}, {"new_password"}),
    ({"current_password": PASSWORD, "new_password": PASSWORD}, {"new_password"}),
    ({"current_password": 5, "new_password": None, "x": 1}, {"current_password", "new_password", "x"}),
    ({"new_password": "12345678", "x": 1}, {"current_password", "new_password", "x"}),
])
def test_password_change_names_every_bad_field(trio, body, fields):
    member = sign_up(trio[0].port)
    answer = member.post("/api/auth/password", body)
    assert answer.status == 400 and answer.fields == fields, answer
    assert member.get("/api/auth/me").status == 200
    assert login(trio[0].client(), member.email).status == 200


def test_password_made_from_the_email_is_refused(trio):
    member = sign_up(trio[0].port, email=unique("very.unusual.person") + "@example.com")
    answer = change(member, new=member.email.split("@")[0] + "1")
    assert answer.status == 400 and answer.fields == {"new_password"}, answer


def test_password_changed_twice_at_once_succeeds_once(trio):
    member = sign_up(trio[0].port)
    answers = []

    def one(n):
        SECRETS.add(f"password number {n} of a race")
        answers.append(change(member.on(trio[n % 3].port), new=f"password number {n} of a race"))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.status for a in answers].count(200) == 1, answers
    assert {a.status for a in answers} <= {200, 401}, answers


def test_login_rehashes_a_password_whose_parameters_are_old(trio):
    member = sign_up(trio[0].port)
    database = trio[0].database()
    # the same password as made with m=12288, t=3 by another implementation is not at hand: what counts is that a hash with
    # other parameters is replaced when the password is right, so the stored one is relabelled and restored by a change
    weak = weaker_hash(PASSWORD)
    query(database, "UPDATE users SET password_hash = %s WHERE id = %s", (weak, member.user_id))
    assert login(trio[0].client(), member.email, "wrong password entirely").status == 401
    assert stored_hash(database, member) == weak
    assert login(trio[0].client(), member.email).status == 200
    after = stored_hash(database, member)
    database.close()
    assert after.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), after
    assert member.get("/api/auth/me").status == 200, "nothing else changes"
    assert login(trio[1].client(), member.email).status == 200


def weaker_hash(password):
    """The password hashed with one pass over 8 MiB, by the library itself."""
    import ctypes
    import ctypes.util
    library = ctypes.CDLL(ctypes.util.find_library("argon2"))
    out = ctypes.create_string_buffer(128)
    data = password.encode()
    rc = library.argon2id_hash_encoded(1, 8192, 1, data, ctypes.c_size_t(len(data)), b"0123456789abcdef", ctypes.c_size_t(16),
                                       ctypes.c_size_t(32), out, ctypes.c_size_t(128))
    assert rc == 0
    return out.value.decode()


def stored_hash(database, member):
    return query(database, "SELECT password_hash FROM users WHERE id = %s", (member.user_id,))[0][0]


# ---- the end of an account ----

def furnish(client):
    """Something in every table that this server's endpoints write to."""
    for i in range(7):
        client.track(status=201, **{**EVENT, "idempotency_key": f"k{i}", "project": "p", "tags": {"team": "a"}, "customer": "c"})
    client.track(status=201, model="no-such-model-at-all", input_tokens=5)
    client.ok("POST", "/api/budgets", {"limit": 5, "period": "monthly"}, status=201)
    client.ok("POST", "/api/pricing/overrides", {"provider": "openai", "model": "mine-1",
                                                 "per_million_tokens": {"input": "2", "output": "3"}}, status=201)
    client.ok("POST", "/api/pricing/reprice", {"from": "2020-01-01", "to": "2035-01-01", "dry_run": False})
    client.get("/api/recommendations")
    key = Client(client.port, new_key(client)["key"])
    key.track(status=201, **EVENT)
    return key


def delete(client, password=PASSWORD):
    return client.request("DELETE", "/api/auth/me", body={"password": password})


def test_account_deletion_leaves_no_row_and_nobody_elses_changes(trio):
    member, other = sign_up(trio[0].port), sign_up(trio[0].port)
    key = furnish(member)
    furnish(other)
    database = trio[0].database()
    tables = user_tables(database)
    before, others = rows_of(database, member.user_id), rows_of(database, other.user_id)
    assert {"users", "events", "event_keys", "budgets", "api_keys", "price_overrides"} <= set(before), before.keys()
    assert len(tables) >= 10, tables
    answer = delete(member)
    assert answer.status == 204, answer
    assert rows_of(database, member.user_id) == {}
    after = rows_of(database, other.user_id)
    # every row as it was; the background may have added some (alerts), and notes the use of keys
    for table in others.keys() - {"api_keys"}:
        assert set(others[table]) <= set(after[table]), table
    assert query(database, "SELECT * FROM usage_drift('-infinity', 'infinity')") == []
    database.close()
    assert seconds_until_dead([member.on(s.port) for s in trio]) <= 1.25
    assert seconds_until_dead([key.on(s.port) for s in trio], "/api/events") <= 1.25
    assert other.get("/api/auth/me").status == 200
    assert len(other.events()) == 9


def test_account_deletion_of_a_large_account_sends_and_tells_nothing_more(trio):
    """While its rows are still being removed (here: not at all, the lock of the purge is held)."""
    member = sign_up(trio[0].port)
    furnish(member)
    member.ok("POST", "/api/webhooks", {"url": "https://hook.invalid/", "events": ["budget.threshold"]}, status=201)
    database, holder = trio[0].database(), trio[0].database()
    query(holder, "SELECT pg_advisory_lock(hashtext('llmlab account purge'))")
    query(database, "INSERT INTO event_keys SELECT %s, 'large-' || n, gen_random_uuid(), now(), sha256('x') FROM generate_series(1, 20001) AS n",
          (member.user_id,))
    assert delete(member).status == 204
    assert query(database, "SELECT count(*) FROM users WHERE id = %s AND deleted_at IS NOT NULL", (member.user_id,)) == [(1,)]
    left = rows_of(database, member.user_id)
    assert not {"webhooks", "webhook_deliveries", "budgets", "api_keys"} & set(left), left.keys()
    holder.close()
    wait_for(lambda: rows_of(database, member.user_id) == {}, "the end of the account's rows")
    database.close()


def test_account_deletion_frees_the_email_at_once_and_the_new_account_is_empty(trio):
    member = sign_up(trio[0].port)
    furnish(member)
    assert delete(member).status == 204
    assert login(trio[1].client(), member.email).status == 401
    again = sign_up(trio[1].port, email=member.email)
    assert again.user_id != member.user_id
    assert again.events() == [] and again.ok("GET", "/api/keys")["keys"] == []
    assert again.ok("GET", "/api/costs/summary")["call_count"] == 0


def test_account_deletion_with_wrong_password_deletes_nothing(trio):
    member = sign_up(trio[0].port)
    furnish(member)
    answer = delete(member, "not the password at all")
    assert answer.status == 401 and answer.json["code"] == "invalid_credentials", answer
    assert member.request("DELETE", "/api/auth/me", body={}).fields == {"password"}
    assert member.request("DELETE", "/api/auth/me", body={"password": PASSWORD, "x": 1}).fields == {"x"}
    assert len(member.events()) == 9


def test_account_deletion_by_an_api_key_is_forbidden(trio):
    member = sign_up(trio[0].port)
    key = Client(trio[0].port, new_key(member)["key"])
    assert delete(key).status == 403
    assert change(key).status == 403
    assert member.get("/api/auth/me").status == 200


def test_account_deletion_while_events_come_in_leaves_none_of_them(trio):
    member, other = sign_up(trio[0].port), sign_up(trio[0].port)
    seen, stop = set(), threading.Event()

    def send(port):
        client = member.on(port)
        while not stop.is_set():
            seen.add(client.post("/api/events/track", EVENT).status)
            seen.add(client.post("/api/events/batch", {"events": [EVENT] * 5}).status)

    threads = [threading.Thread(target=send, args=(s.port,)) for s in trio for _ in range(2)]
    for t in threads:
        t.start()
    wait_for(lambda: 201 in seen and 200 in seen, "events")
    answer = delete(member.on(trio[1].port))
    wait_for(lambda: 401 in seen, "the end of the tokens")
    stop.set()
    for t in threads:
        t.join()
    assert answer.status == 204, answer
    assert seen <= {200, 201, 401, 503}, seen
    database = trio[0].database()
    wait_for(lambda: rows_of(database, member.user_id) == {}, "the end of its data")
    assert query(database, "SELECT * FROM usage_drift('-infinity', 'infinity')") == []
    database.close()
    assert other.get("/api/auth/me").status == 200


def test_account_deletion_asked_for_three_times_at_once_is_done_once(trio):
    member = sign_up(trio[0].port)
    statuses = []
    threads = [threading.Thread(target=lambda s=s: statuses.append(delete(member.on(s.port)).status)) for s in trio]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses.count(204) == 1 and set(statuses) <= {204, 401}, statuses
