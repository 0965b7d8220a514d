#!/usr/bin/python3
"""How long answers over many events take, through HTTP, while events are stored, and what the database does for them.

usage: LLMLAB_BIN=build/release/llmlab tests/bench/bench_answers.py [--fill 100000,10000000] [--others 2] [--sets 150|20|3000] [--readers 16]

For each number of --fill: a PostgreSQL of its own with that many events of one user (366 days to today, 8 models, 4 projects, tags team and
env) and --others times as many of 20 other users, and all sums of them, made in SQL; one day is checked with usage_drift(). Then a running
server is asked: by one reader, and by --readers at once (wrk), while --ingest events a second of the same user are stored. --sets is how many
combinations of project, customer and tags the user has. Last comes a table for docs/performance.md, the ratio of the medians of the
largest to those of the smallest fill, and whether any plan reads events (--explain prints the plans). Everything is deleted at the end.
Readers, server and PostgreSQL share the machine's cores.
"""
import argparse
import concurrent.futures
import datetime
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from llmlab_client import Client, sign_up  # noqa: E402
from llmlab_server import PROCESSES, Postgres, Server, connect, end_all, new_secret, processes_in, query, wait_for  # noqa: E402

DAYS, OTHERS = 366, 20
TODAY = datetime.datetime.now(datetime.timezone.utc).date()
FIRST = TODAY - datetime.timedelta(days=DAYS - 1)
DEAR_DAYS = ", ".join(f"'{TODAY - datetime.timedelta(days=n)}'" for n in (3, 9, 15))

# The combinations that the user's events have: of each number of sets so many customers, projects, teams and environments (the first two and
# the teams of a customer are always the same). The others have five.
SHAPES = {20: (20, 1), 150: (50, 3), 3000: (50, 60)}
SETS = """
CREATE UNLOGGED TABLE bench_sets AS SELECT own, n, project, customer, tags, md5(jsonb_build_array(project, customer, NULL, tags)::text)::uuid AS id
FROM (SELECT own, n, 'project-' || (n / {envs} + n % {envs} / 3) % 4 AS project, 'customer-' || n / {envs} AS customer, jsonb_build_object('team', 'team-'
        || (n / {envs} + n % {envs} / 12) % 5, 'env', (ARRAY['prod', 'test', 'dev'])[1 + n % 3]) AS tags
    FROM (SELECT true AS own, n FROM generate_series(0, {customers} * {envs} - 1) AS n) AS a
    UNION ALL SELECT false, n, 'project', 'customer-' || n, NULL FROM generate_series(0, 4) AS n) AS s
"""
# The g-th of n events: spread over the time up to now, everything else by a fixed mix of g.
EVENTS = """
INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, output_tokens, cache_read_tokens, cost,
    pricing_status, price_record, price_rule, price_lines, catalogue_version, service_tier, project, customer, tags, latency_ms, status, set_id)
SELECT {user}, at, (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid, at, CASE WHEN m < 4 THEN 'openai' WHEN m < 6 THEN 'anthropic' ELSE 'google' END, 'model-' || m,
    1000 + h % 9000, 100 + h % 900, nullif(h % 1000, 0), CASE WHEN h % 50 = 0 THEN NULL ELSE (h % 100000) * 0.0000025 * CASE WHEN {own} AND (at AT TIME ZONE 'UTC')::date IN ({dear}) THEN 10 ELSE 1 END END,
    CASE WHEN h % 50 = 0 THEN 'unpriced' ELSE 'priced' END, 'p/m', 'exact', 'input:1000@2.5;output:500@10', 'bench', 'standard',
    s.project, s.customer, s.tags, h % 5000, CASE WHEN h % 40 = 0 THEN 'error' ELSE 'success' END, s.id
FROM (SELECT '{first}Z'::timestamptz + make_interval(secs => g::float8 * {seconds} / {n}) AS at, h, h / 1000003 % {others} AS u, h / 7 % {models} AS m,
        h / 101 % {sets} AS n FROM (SELECT g, abs(hashint8(g + {seed})::bigint) AS h FROM generate_series({lo}::bigint, {hi}::bigint - 1) AS g) AS a)
    AS b JOIN bench_sets AS s ON s.own = {own} AND s.n = b.n
"""
OTHER = "('00000000-0000-4000-8000-' || lpad(u::text, 12, '0'))::uuid"
SUMS = ["calls", "errors", "unpriced_calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_1h_tokens", "reasoning_tokens", "cost", "error_cost", "standard_cost"]
WEEK = "date_bin('7 days', bucket, '2000-01-03Z')"
# Each level from a finer one: (table, from, key as it is there); the rows in the order of time, as a writer leaves them.
OF_MONTH = [("usage_set_model_15m", "finest", "user_id, bucket, set_id, provider, model"),
            ("usage_model_15m", "finest", "user_id, bucket, provider, model, project")]
AFTER = [[("usage_set_model_day", "usage_set_model_15m", "user_id, date_trunc('day', bucket, 'UTC'), set_id, provider, model"),
          ("usage_set_day", "usage_set_model_day", "user_id, bucket, set_id"), ("usage_set_week", "usage_set_day", f"user_id, {WEEK}, set_id")],
         [("usage_model_day", "usage_model_15m", "user_id, date_trunc('day', bucket, 'UTC'), provider, model, project"),
          ("usage_model_week", "usage_model_day", f"user_id, {WEEK}, provider, model, project"),
          ("usage_hour", "usage_model_15m", "user_id, date_trunc('hour', bucket, 'UTC')"),
          ("usage_day", "usage_hour", "user_id, date_trunc('day', bucket, 'UTC')")]]
LEVELS = [table for table, _, _ in OF_MONTH + AFTER[0] + AFTER[1]]


def last(days):
    return f"from={TODAY - datetime.timedelta(days=days - 1)}&to={TODAY}"


# What is asked, and whether it is to be answered without events.
ASKED = [("summary, 30 days", f"/api/costs/summary?{last(30)}", True),
         ("summary, 30 days, Asia/Kathmandu", f"/api/costs/summary?{last(30)}&tz=Asia/Kathmandu", True),
         ("summary, 366 days", f"/api/costs/summary?{last(366)}", True),
         ("summary, 366 days, Europe/Berlin", f"/api/costs/summary?{last(366)}&tz=Europe/Berlin", True),
         ("by provider, 30 days", f"/api/costs/by-provider?{last(30)}", True),
         ("breakdown by tag, 30 days", f"/api/costs/breakdown?group_by=tag.team&{last(30)}", True),
         ("breakdown by tag, 30 days, Berlin", f"/api/costs/breakdown?group_by=tag.team&{last(30)}&tz=Europe/Berlin", True),
         ("breakdown by customer, 30 days", f"/api/costs/breakdown?group_by=customer&{last(30)}", True),
         ("breakdown by tag, 366 days", f"/api/costs/breakdown?group_by=tag.team&{last(366)}", True),
         ("by model of one customer, 30 days", f"/api/costs/breakdown?group_by=model&customer=customer-7&{last(30)}", True),
         ("breakdown by tag by day, 366 days", f"/api/costs/breakdown?group_by=tag.team&granularity=day&{last(366)}", True),
         ("forecast", "/api/costs/forecast", True),
         ("forecast, Europe/Berlin", "/api/costs/forecast?tz=Europe/Berlin", True),
         ("anomalies, 30 days", f"/api/recommendations/anomalies?{last(30)}", False),
         ("anomalies, 30 days, Europe/Berlin", f"/api/recommendations/anomalies?{last(30)}&tz=Europe/Berlin", False),
         ("anomalies, 366 days", f"/api/recommendations/anomalies?{last(366)}", False),
         ("recommendations, 30 days", f"/api/recommendations?{last(30)}", False),
         ("percentiles, 30 days", f"/api/costs/percentiles?{last(30)}", False)]
# The connections of wrk get one path after the other.
WRK = """wrk.headers["Authorization"] = "Bearer {token}"
local paths, at = {{{paths}}}, 0
function request()
    at = at % #paths + 1
    return wrk.format("GET", paths[at])
end
"""


class BenchPostgres(Postgres):
    """With the memory that the server gives its own PostgreSQL."""

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.pgdata, "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c",
                 "shared_buffers=128MB", *self.options], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.owner)
        PROCESSES.append(self.process)
        wait_for(self.answers, "PostgreSQL", 600)
        return self

    def with_settings(self, url, **values):
        """Restarted with these settings and no others."""
        database = connect(url)
        query(database, "ALTER SYSTEM RESET ALL")
        for name, value in values.items():
            query(database, f"ALTER SYSTEM SET {name} = {value}")
        query(database, "CHECKPOINT")
        database.close()
        self.stop()
        return self.start()


# ---- filling ----

def sums_of(table, source, key):
    names = re.sub(r"date_\w+\('[\w ]+', bucket, '[\w-]+'\)", "bucket", key)
    columns = ", ".join(str(i + 1) for i in range(names.count(",") + 1))
    return (f"INSERT INTO {table} ({names}, {', '.join(SUMS)}) SELECT {key}, {', '.join(f'sum({s})' for s in SUMS)}"
            f" FROM {source} GROUP BY {columns} ORDER BY 2")


def in_parallel(url, jobs):
    """Runs lists of statements, each list by a connection of its own, on all cores."""
    def run(statements):
        database = connect(url)
        query(database, "SET session_replication_role = replica")
        for sql in statements:
            query(database, sql)
        database.close()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, jobs))


def indexes_of(database):
    """What can be dropped and made again: [(drop, make)] of the events and their sums."""
    tables = "ARRAY['events', " + ", ".join(f"'{t}'" for t in LEVELS) + "]::regclass[]"
    keys = query(database, f"SELECT format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', conrelid::regclass, conname), format("
                           f"'ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint"
                           f" WHERE contype = 'p' AND conrelid = ANY ({tables})")
    return keys + query(database, f"SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid) FROM pg_index"
                                  f" WHERE NOT indisprimary AND indrelid = ANY ({tables})")


def event_jobs(user_id, n_own, args):
    n_others = int(n_own * args.others)
    now = datetime.datetime.now(datetime.timezone.utc)
    seconds = (now - datetime.datetime.combine(FIRST, datetime.time(), datetime.timezone.utc)).total_seconds()
    for own, n in ((True, n_own), (False, n_others)):
        step = min(10 ** 6, max(1, n))
        for lo in range(0, n, step):
            yield [EVENTS.format(user=f"'{user_id}'::uuid" if own else OTHER, first=FIRST, seconds=seconds, n=n, others=OTHERS, models=8 if own else 2,
                                 sets=args.sets if own else 5, seed=0 if own else 10 ** 12, lo=lo, hi=min(n, lo + step), own=own,
                                 dear=DEAR_DAYS)]


def month_jobs():
    month = FIRST.replace(day=1)
    while month <= TODAY:
        following = (month + datetime.timedelta(days=32)).replace(day=1)
        yield [f"CREATE TEMP TABLE finest AS SELECT * FROM usage_from_events('{month}Z', '{following}Z')",
               *(sums_of(*level) for level in OF_MONTH), "DROP TABLE finest"]
        month = following


def fill(url, user_id, n, args):
    started = time.monotonic()
    database = connect(url)
    query(database, "INSERT INTO users (id, email, name, password_hash) SELECT ('00000000-0000-4000-8000-' || lpad(u::text, 12, '0'))::uuid,"
                    f" 'other-' || u || '@example.com', 'Other', '$argon2id$none' FROM generate_series(0, {OTHERS - 1}) AS u")
    for month in range(14):
        query(database, "SELECT events_ensure_partition((%s::date + %s * interval '1 month')::timestamptz)", (FIRST.replace(day=1), month))
    customers, envs = SHAPES[args.sets]
    query(database, SETS.format(customers=customers, envs=envs))
    indexes = indexes_of(database)
    for drop, _ in indexes:
        query(database, drop)
    in_parallel(url, event_jobs(user_id, n, args))
    events_s = time.monotonic() - started
    query(database, f"INSERT INTO usage_sets SELECT '{user_id}'::uuid, id, project, customer, NULL::uuid, tags FROM bench_sets WHERE own UNION ALL SELECT"
                    f" {OTHER}, id, project, customer, NULL, tags FROM bench_sets, generate_series(0, {OTHERS - 1}) AS u WHERE NOT own")
    in_parallel(url, month_jobs())
    in_parallel(url, [[sums_of(*level) for level in levels] for levels in AFTER])
    in_parallel(url, [[make] for _, make in indexes])
    query(database, "DROP TABLE bench_sets")
    query(database, "VACUUM ANALYZE")
    checked = TODAY - datetime.timedelta(days=20)
    wrong = query(database, "SELECT * FROM usage_drift(%s, %s) LIMIT 3",
                  (f"{checked}Z", f"{checked + datetime.timedelta(days=1)}Z"))
    assert wrong == [], wrong
    sizes = query(database, "SELECT relname, reltuples::bigint, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class"
                            " WHERE relname LIKE 'usage%%' AND relkind = 'r' ORDER BY 1")
    size = query(database, "SELECT pg_size_pretty(pg_database_size(current_database()))")[0][0]
    database.close()
    print(f"{int(n * (1 + args.others)):,} events in {events_s:.0f} s, with sums in {time.monotonic() - started:.0f} s, {size}: "
          + ", ".join(f"{t} {r:,} rows {s}" for t, r, s in sizes), flush=True)


# ---- asking ----

class Ingest(threading.Thread):
    """Stores events of the user at a fixed rate, in two batches a second, as long as it lives."""

    def __init__(self, port, token, rate):
        super().__init__(daemon=True)
        self.port, self.token, self.rate, self.stored, self.refused, self.ending = port, token, rate, 0, 0, threading.Event()

    def run(self):
        events = [{"provider": "openai", "model": f"model-{i % 4}", "input_tokens": 1000 + i, "output_tokens": 100, "project": "project-1",
                   "tags": {"team": "team-1", "env": "prod"}} for i in range(max(1, self.rate // 2))]
        body = json.dumps({"events": events})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while not self.ending.wait(0.5):
            connection.request("POST", "/api/events/batch", body, {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.stored += len(events) if answer.status < 300 else 0
            self.refused += 0 if answer.status < 300 else len(events)
        connection.close()

    def end(self):
        self.ending.set()
        self.join()


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


def earlier(path, days):
    """The same question about days that lie so much earlier; None if it does not name any."""
    def moved(m):
        return m[1] + str(datetime.date.fromisoformat(m[2]) - datetime.timedelta(days=days))
    return re.sub(r"((?:from|to)=)([\d-]+)", moved, path) if "from=" in path else None


def at_once(server, user, paths, readers, seconds):
    """(requests a second, p50, p99, refused) of so many readers."""
    script, port = server.folder / "get.lua", server.port
    script.write_text(WRK.format(token=user.token, paths=", ".join(f'"{p}"' for p in paths)), encoding="ascii")
    done = subprocess.run(["wrk", "-t1", f"-c{readers}", f"-d{seconds}s", "--latency", "--timeout", "60s", "-s", str(script),
                           f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True).stdout
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


def beside_ingest(server, user, paths, args):
    """What readers at once see while events are stored, and what was refused: (rate, p50, p99, remark)."""
    ingest = Ingest(server.port, user.token, args.ingest)
    if args.ingest > 0:
        ingest.start()
    rate, p50, p99, refused = at_once(server, user, paths, args.readers, max(1, int(2 * args.seconds)))
    if args.ingest > 0:
        ingest.end()
    return rate, p50, p99, (f"  {refused} refused" if refused else "") + (f"  {ingest.refused} events refused" if ingest.refused else "")


def ask(postgres, server, user, args):
    """{name: (CPU ms, p50 alone, p99 of many who ask the same, p99 of many who ask for different days)}"""
    seen = {}
    print(f"{'':36} {'first':>8} {'alone p50':>9} {'p99 ms':>8} {'CPU ms':>7} | {args.readers:>3} readers, the same: {'per s':>7} {'p50':>7} {'p99 ms':>8}"
          f" | different: {'per s':>7} {'p50':>7} {'p99 ms':>8}")
    for name, path, _ in ASKED:
        if args.only not in name:
            continue
        time.sleep(1)  # what the readers before have left behind is worked off
        begin = time.perf_counter()
        Client(server.port, user.token).ok("GET", path)
        first = (time.perf_counter() - begin) * 1000
        alone(server.port, user.token, path, 0.5)
        used_ms = cpu_ms(postgres, server)
        p50, p99, n = alone(server.port, user.token, path, args.seconds)
        used_ms = (cpu_ms(postgres, server) - used_ms) / n
        rate, many50, many99, remark = beside_ingest(server, user, [path], args)
        seen[name] = [used_ms, p50, many99, None]
        print(f"{name:36} {first:>8.1f} {p50:>9.2f} {p99:>8.2f} {used_ms:>7.1f} | {'':22} {rate:>7.0f} {many50:>7.1f} {many99:>8.1f}{remark}", end="")
        if earlier(path, 1):
            rate, many50, many99, remark = beside_ingest(server, user, [earlier(path, k) for k in range(args.readers)], args)
            seen[name][3] = many99
            print(f" | {'':10} {rate:>7.0f} {many50:>7.1f} {many99:>8.1f}{remark}", end="")
        print(flush=True)
    return seen


def plans_that_read_events(postgres, url, own, user, args):
    """Asks everything once more with auto_explain, and looks for scans of events in the plans."""
    postgres.options = ["-csession_preload_libraries=auto_explain", "-cauto_explain.log_min_duration=0", "-cauto_explain.log_analyze=on",
                        "-cauto_explain.log_timing=off"]
    postgres.with_settings(url, random_page_cost="1.1")
    server = Server(**own).start()
    for name, path, without in ASKED:
        if args.only not in name:
            continue
        begin = len(postgres.log)
        alone(server.port, user.token, path, 0)
        plans = postgres.log[begin:]
        # (never executed): a partition that a plan for any time names
        read = sum("(never executed)" not in line for line in plans.splitlines() if re.search(r"Scan .*\bevents(_\d|\b)", line))
        print(f"{name:36} {read:>4} scans of events" + ("  <-- WRONG" if read and without else ""), flush=True)
        if args.explain:
            print(plans)
    server.stop()


def measure(n, args):
    postgres = BenchPostgres().start()
    url = postgres.create("bench")
    own = {"DATABASE_URL": url, "SECRET_KEY": new_secret(), "RATE_LIMITS": "off", "ANOMALY_SCAN_SECONDS": "86400"}
    server = Server(**own).start()
    user = sign_up(server.port)
    server.stop()
    postgres.with_settings(url, fsync="off", full_page_writes="off", wal_level="minimal", max_wal_senders="0", max_wal_size="'8GB'", autovacuum="off",
                           synchronous_commit="off", work_mem="'512MB'", maintenance_work_mem="'1GB'", max_parallel_maintenance_workers="0",
                           max_parallel_workers_per_gather="0")
    fill(url, user.user_id, n, args)
    postgres.with_settings(url, random_page_cost="1.1", max_wal_size="'1GB'")
    server = Server(**own).start()
    print(f"{n:,} events of one user, {int(n * args.others):,} of {OTHERS} others, {args.sets} sets, {args.ingest} events/s stored meanwhile")
    seen = ask(postgres, server, user, args)
    server.stop()
    plans_that_read_events(postgres, url, own, user, args)
    postgres.stop()
    end_all()
    return seen


def print_table(numbers, seen, readers):
    print("| answer | " + " | ".join(f"CPU ms, {n:,} | p50 alone | p99, {readers} readers ask the same | different" for n in numbers) + " | p50, ratio |")
    print("| --- |" + " --- | --- | --- | --- |" * len(numbers) + " --- |")
    for name in seen[0]:
        cells = " | ".join(f"{s[name][0]:.1f} | {s[name][1]:.1f} | {s[name][2]:.0f} | " + ("" if s[name][3] is None else f"{s[name][3]:.0f}") for s in seen)
        print(f"| {name} | {cells} | {seen[-1][name][1] / seen[0][name][1]:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fill", default="100000,10000000", help="events of the user, one database after the other")
    parser.add_argument("--others", type=float, default=2)
    parser.add_argument("--sets", type=int, choices=sorted(SHAPES), default=150)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--ingest", type=int, default=200, help="events a second while the readers ask")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default="", help="answers whose name contains this")
    parser.add_argument("--explain", action="store_true")
    args = parser.parse_args()
    numbers = [int(float(n)) for n in args.fill.split(",")]
    try:
        seen = [measure(n, args) for n in numbers]
        print_table(numbers, seen, args.readers)
    finally:
        end_all()


if __name__ == "__main__":
    main()
