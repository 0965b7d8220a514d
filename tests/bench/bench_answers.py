#!/usr/bin/python3
"""How long answers over many events take, through HTTP, and what the database does for them.

usage: LLMLAB_BIN=build/release/llmlab tests/bench/bench_answers.py [--events 1000000] [--others 2] [--sets customers|all] [--readers 16]

Starts a PostgreSQL of its own, fills events of one user by generate_series (366 days, 8 models, 4 projects, 50 customers, tags team and
env), and of 100 other users --others times as many, adds up all tables of sums from them (rows in the order of time, as a writer leaves them), checks one day with usage_drift(), then asks
a running server: one reader at a time and --readers at once (wrk). --sets says how many combinations of project, customer and tags there
are: `customers` (each customer is of one project and one team: 150) or `all` (every combination: 3,000). --explain prints the plans.
Everything is deleted at the end. Reader, server and PostgreSQL share the machine's cores.
"""
import argparse
import http.client
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from llmlab_client import sign_up  # noqa: E402
from llmlab_server import PROCESSES, Postgres, Server, connect, end_all, new_secret, processes_in, query, wait_for  # noqa: E402

FIRST_DAY, DAYS = "2025-01-01", 366
# The g-th of n events: spread over the days, everything else by a fixed mix of g.
EVENTS = """
INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, output_tokens, cache_read_tokens, cost,
    pricing_status, price_record, price_rule, price_lines, catalogue_version, service_tier, project, customer, tags, latency_ms, status, set_id)
SELECT {user}, at, gen_random_uuid(), at, CASE WHEN m < 4 THEN 'openai' WHEN m < 6 THEN 'anthropic' ELSE 'google' END, 'model-' || m,
    1000 + h % 9000, 100 + h % 900, nullif(h % 1000, 0), CASE WHEN h % 50 = 0 THEN NULL ELSE (h % 100000) * 0.0000025 END,
    CASE WHEN h % 50 = 0 THEN 'unpriced' ELSE 'priced' END, 'p/m', 'exact', 'input:1000@2.5;output:500@10', 'bench', 'standard',
    project, customer, tags, h % 5000, CASE WHEN h % 40 = 0 THEN 'error' ELSE 'success' END,
    md5(jsonb_build_array(project, customer, NULL, tags)::text)::uuid
FROM (SELECT at, h, u, h / 7 % 8 AS m, 'project-' || p AS project, 'customer-' || c AS customer,
        jsonb_build_object('team', 'team-' || t, 'env', (ARRAY['prod', 'test', 'dev'])[1 + h / 11 % 3]) AS tags
    FROM (SELECT {first}::timestamptz + make_interval(secs => g::float8 * 86400 * {days} / {n}) AS at, h, h / 1000003 % 100 AS u, h / 101 % 50 AS c,
            CASE WHEN {all_sets} THEN h / 13 % 4 ELSE h / 101 % 50 % 4 END AS p, CASE WHEN {all_sets} THEN h / 17 % 5 ELSE h / 101 % 50 % 5 END AS t
        FROM (SELECT g, abs(hashint8(g + {seed})::bigint) AS h FROM generate_series({lo}::bigint, {hi}::bigint - 1) AS g) AS a) AS b) AS c
"""
SUMS = ["calls", "errors", "unpriced_calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_1h_tokens", "reasoning_tokens", "cost", "error_cost", "standard_cost"]
LEVELS = {"usage_model_15m": "user_id, bucket, provider, model, project", "usage_set_model_15m": "user_id, bucket, set_id, provider, model",
          "usage_model_day": "user_id, date_trunc('day', bucket, 'UTC'), provider, model, project",
          "usage_set_model_day": "user_id, date_trunc('day', bucket, 'UTC'), set_id, provider, model",
          "usage_set_day": "user_id, date_trunc('day', bucket, 'UTC'), set_id",
          "usage_hour": "user_id, date_trunc('hour', bucket, 'UTC')"}
ASKED = [("summary, 30 days", "/api/costs/summary?from=2025-11-01&to=2025-11-30"),
         ("summary, 30 days, Asia/Kathmandu", "/api/costs/summary?from=2025-11-01&to=2025-11-30&tz=Asia/Kathmandu"),
         ("summary, 366 days", "/api/costs/summary?from=2025-01-01&to=2026-01-01"),
         ("summary, 366 days, Europe/Berlin", "/api/costs/summary?from=2025-01-01&to=2026-01-01&tz=Europe/Berlin"),
         ("by provider, 30 days", "/api/costs/by-provider?from=2025-11-01&to=2025-11-30"),
         ("breakdown by tag, 30 days", "/api/costs/breakdown?group_by=tag.team&from=2025-11-01&to=2025-11-30"),
         ("breakdown by customer, 30 days", "/api/costs/breakdown?group_by=customer&from=2025-11-01&to=2025-11-30"),
         ("by model of one customer, 30 days", "/api/costs/breakdown?group_by=model&customer=customer-7&from=2025-11-01&to=2025-11-30"),
         ("breakdown by tag by day, 366 days", "/api/costs/breakdown?group_by=tag.team&granularity=day&from=2025-01-01&to=2026-01-01"),
         ("percentiles, 30 days", "/api/costs/percentiles?from=2025-11-01&to=2025-11-30")]
WRK = 'wrk.method = "GET"\nwrk.headers["Authorization"] = "Bearer %s"\n'


def settings(database, postgres, for_filling):
    """Bulk settings while filling; those that the server's own PostgreSQL has while measuring."""
    values = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "'8GB'", "autovacuum": "off", "work_mem": "'512MB'",
              "maintenance_work_mem": "'512MB'"} if for_filling else {"random_page_cost": "1.1", "max_wal_size": "'1GB'"}
    query(database, "ALTER SYSTEM RESET ALL")
    for name, value in values.items():
        query(database, f"ALTER SYSTEM SET {name} = {value}")
    database.close()
    postgres.stop()
    return postgres.start()


class BenchPostgres(Postgres):
    """With the memory that the server gives its own PostgreSQL."""

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.pgdata, "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c",
                 "shared_buffers=128MB"], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.owner)
        PROCESSES.append(self.process)
        wait_for(self.answers, "PostgreSQL")
        return self


def fill(database, user_id, args):
    started = time.monotonic()
    query(database, "INSERT INTO users (id, email, name, password_hash) SELECT ('00000000-0000-4000-8000-' || lpad(u::text, 12, '0'))::uuid,"
                    " 'other-' || u || '@example.com', 'Other', '$argon2id$none' FROM generate_series(0, 99) AS u")
    for month in range(14):
        query(database, "SELECT events_ensure_partition((%s::date + %s * interval '1 month')::timestamptz)", (FIRST_DAY, month))
    query(database, "SET session_replication_role = replica")
    other = "('00000000-0000-4000-8000-' || lpad(u::text, 12, '0'))::uuid"
    for n, user, seed in ((args.events, f"'{user_id}'::uuid", 0), (int(args.events * args.others), other, 10 ** 12)):
        for lo in range(0, n, 10 ** 6):
            query(database, EVENTS.format(user=user, first=f"'{FIRST_DAY}'", days=DAYS, n=n, seed=seed, lo=lo, hi=min(n, lo + 10 ** 6),
                                          all_sets=args.sets == "all"))
    print(f"{int(args.events * (1 + args.others)):,} events in {time.monotonic() - started:.0f} s", flush=True)
    query(database, "INSERT INTO usage_sets SELECT DISTINCT user_id, set_id, coalesce(project, ''), coalesce(customer, ''), api_key_id, tags FROM events")
    for month in range(14):
        query(database, f"CREATE TEMP TABLE finest AS SELECT * FROM usage_from_events(%s::timestamptz + %s * interval '1 month',"
                        " %s::timestamptz + %s * interval '1 month')", (FIRST_DAY, month, FIRST_DAY, month + 1))
        for table, key in LEVELS.items():
            names = re.sub(r"date_trunc\('\w+', bucket, 'UTC'\)", "bucket", key)
            query(database, f"INSERT INTO {table} ({names}, {', '.join(SUMS)}) SELECT {key}, {', '.join(f'sum({s})' for s in SUMS)}"
                            f" FROM finest GROUP BY {', '.join(str(i + 1) for i in range(names.count(',') + 1))} ORDER BY 2")
        query(database, "DROP TABLE finest")
    query(database, "VACUUM ANALYZE")
    query(database, "CHECKPOINT")
    wrong = query(database, "SELECT * FROM usage_drift('2025-11-07Z', '2025-11-08Z') LIMIT 3")
    assert wrong == [], wrong
    sizes = query(database, "SELECT relname, reltuples::bigint, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class"
                            " WHERE relname LIKE 'usage%%' AND relkind = 'r' ORDER BY 1")
    size = query(database, "SELECT pg_size_pretty(pg_database_size(current_database()))")[0][0]
    print(f"filled in {time.monotonic() - started:.0f} s, {size}: " + ", ".join(f"{n} {r:,} rows {s}" for n, r, s in sizes), flush=True)


def alone(port, token, path, seconds):
    """Milliseconds of single requests one after the other: (p50, p99, n)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    times, refused, end = [], 0, time.monotonic() + seconds
    while len(times) < 8 or (time.monotonic() < end and len(times) < 2000):
        begin = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 503 and refused < 20:  # over the deadline: caches are cold, or the machine is busy with others
            refused += 1
            continue
        assert answer.status == 200, body
        times.append((time.perf_counter() - begin) * 1000)
    connection.close()
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)], len(times)


def at_once(port, script, path, readers, seconds):
    """(requests a second, p50, p99, refused) of so many readers."""
    done = subprocess.run(["wrk", "-t1", f"-c{readers}", f"-d{seconds}s", "--latency", "--timeout", "60s", "-s", script,
                           f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    of = {p: float(v) * {"us": 0.001, "ms": 1, "s": 1000}[u] for p, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", done)}
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1)), of["50"], of["99"], int(bad.group(1)) if bad else 0


def cpu_ms(postgres, server):
    """CPU time that the server and all of its PostgreSQL have used, also processes that have ended."""
    ticks = 0
    for pid in [server.process.pid, *processes_in(postgres.pgdata)]:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def scans(database):
    return dict(query(database, "SELECT 'events', coalesce(sum(seq_scan + idx_scan), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'events\\_2%%'"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10 ** 6)
    parser.add_argument("--others", type=float, default=2)
    parser.add_argument("--sets", choices=["customers", "all"], default="customers")
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--explain", action="store_true")
    args = parser.parse_args()
    try:
        postgres = BenchPostgres().start()
        url = postgres.create("bench")
        own = {"DATABASE_URL": url, "SECRET_KEY": new_secret(), "RATE_LIMITS": "off"}
        server = Server(**own).start()
        user = sign_up(server.port)
        server.stop()
        settings(connect(url), postgres, True)
        database = connect(url)
        fill(database, user.user_id, args)
        settings(database, postgres, False)
        if args.explain:
            database = connect(url)
            for name, value in (("session_preload_libraries", "'auto_explain'"), ("auto_explain.log_min_duration", "0"),
                                ("auto_explain.log_analyze", "on"), ("auto_explain.log_buffers", "on"), ("auto_explain.log_timing", "off")):
                query(database, f"ALTER SYSTEM SET {name} = {value}")
            query(database, "SELECT pg_reload_conf()")
        server = Server(**own).start()
        script = server.folder / "get.lua"
        script.write_text(WRK % user.token, encoding="ascii")
        print(f"{args.events:,} events of one user, {int(args.events * args.others):,} of 100 others, sets: {args.sets}")
        print(f"{'':36} {'alone p50':>9} {'p99 ms':>8} {'CPU ms':>7} | {args.readers:>3} readers: {'per s':>7} {'p50':>7} {'p99 ms':>8}  scans of events")
        database = connect(url)
        for name, path in ASKED:
            alone(server.port, user.token, path, 0.5)
            before = scans(database)["events"]
            used_ms = cpu_ms(postgres, server)
            p50, p99, n = alone(server.port, user.token, path, args.seconds)
            used_ms = cpu_ms(postgres, server) - used_ms
            rate, many50, many99, refused = (0, 0, 0, 0) if args.explain else at_once(server.port, str(script), path, args.readers, max(1, int(args.seconds)))
            time.sleep(1.2)  # the statistics of scans arrive after a second
            query(database, "SELECT pg_stat_clear_snapshot()")
            print(f"{name:36} {p50:>9.2f} {p99:>8.2f} {used_ms / n:>7.1f} | {'':11} {rate:>7.0f} {many50:>7.1f} {many99:>8.1f}  {scans(database)['events'] - before}"
                  + (f"  {refused} refused" if refused else ""), flush=True)
        database.close()
        server.stop()
        if args.explain:
            print(postgres.log)
        postgres.stop()
    finally:
        end_all()


if __name__ == "__main__":
    main()
