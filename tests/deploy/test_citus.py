"""sql/citus.sql against the schema: no table is forgotten, and what is distributed by user_id can be. (Citus itself is not run.)"""
import re

from llmlab_server import ROOT, Server, connect, new_secret, query

LOCAL = {"schema_migrations", "event_months_dropped", "price_catalogues", "auth_changes", "auth_throttles", "history_marks"}
SCRIPT = (ROOT / "sql/citus.sql").read_text()
DISTRIBUTED = set(re.findall(r"create_distributed_table\('(\w+)', 'user_id'", SCRIPT))
REFERENCE = set(re.findall(r"create_reference_table\('(\w+)'\)", SCRIPT))


def test_tables_can_be_distributed_by_user(postgres):
    url = postgres.create("citus")
    server = Server(DATABASE_URL=url, SECRET_KEY=new_secret()).start()
    server.stop()
    database = connect(url)
    tables = {name for name, in query(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                                                " AND relkind IN ('r', 'p') AND NOT relispartition")}
    assert tables == DISTRIBUTED | REFERENCE | LOCAL and not DISTRIBUTED & REFERENCE
    unique = query(database, """SELECT c.relname, i.indexrelid::regclass::text, array_agg(a.attname::text) FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition GROUP BY 1, 2""")
    assert [u for u in unique if u[0] in DISTRIBUTED and "user_id" not in u[2]] == []
    foreign = query(database, """SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, array_agg(a.attname::text) FROM pg_constraint k
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) WHERE k.contype = 'f' AND k.conparentid = 0
        AND k.connamespace = 'public'::regnamespace GROUP BY k.oid, 1, 2""")
    for table, target, columns in foreign:
        if table in DISTRIBUTED:
            assert target in REFERENCE or (target in DISTRIBUTED and "user_id" in columns), (table, target)
        if table in REFERENCE:
            assert target in REFERENCE, (table, target)
    database.close()
