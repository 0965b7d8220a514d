"""What the tests of accounts, keys and limits share: three servers on one database, logins, and rows by user."""
import contextlib

import pytest

from llmlab_client import PASSWORD, SECRETS, unique
from llmlab_server import Server, new_secret, query


@pytest.fixture(scope="module")
def trio(postgres):
    """Three servers on one database of their own."""
    settings = {"DATABASE_URL": postgres.create(unique("trio")), "SECRET_KEY": new_secret()}
    with contextlib.ExitStack() as ends:
        three = [Server(**settings) for _ in range(3)]
        for one in three:
            one.start()
            ends.callback(one.stop)
        yield three


def login(client, email, password=PASSWORD, **more):
    answer = client.post("/api/auth/login", {"email": email, "password": password}, **more)
    if answer.status == 200:
        SECRETS.add(answer.json["access_token"])
    return answer


def new_key(client, scope="full", **body):
    made = client.ok("POST", "/api/keys", {"name": "Key", "scope": scope, **body}, status=201)
    SECRETS.add(made["key"])
    return made


def user_tables(database):
    """The tables (no partitions) that have a user_id column."""
    return [name for (name,) in query(database, """
        SELECT c.table_name::text FROM information_schema.columns AS c JOIN pg_class AS p ON p.oid = c.table_name::regclass
        WHERE c.column_name = 'user_id' AND c.table_schema = 'public' AND p.relkind IN ('r', 'p') AND NOT p.relispartition
        ORDER BY 1""")]


def rows_of(database, user_id):
    """All rows of the user, by table, in an order of their own, as text."""
    found = {}
    for table in [*user_tables(database), "users"]:
        column = "id" if table == "users" else "user_id"
        rows = query(database, f"SELECT t::text FROM {table} AS t WHERE {column} = %s ORDER BY 1", (user_id,))
        if rows:
            found[table] = [row for (row,) in rows]
    return found
