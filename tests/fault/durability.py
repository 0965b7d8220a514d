"""The items about what is stored: R1 to R13 of docs/reliability.md. Each is a function that breaks something and notes what it saw."""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

from ledger import Judgement, is_keyed, judge
from llmlab_client import Client, sign_up
from llmlab_server import PROCESSES, assert_rollups_equal_events, connect, new_secret, processes_in, query, wait_for

AT = "2026-06-10T12:00:00Z"


# ---- what the items share ----

def kill_all(postgres):
    """kill -9 of every process of PostgreSQL, as when the machine loses its power but not its disk."""
    for pid in processes_in(postgres.pgdata):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    ended(postgres)


def ended(postgres):
    postgres.process.wait(60)
    PROCESSES.remove(postgres.process)
    wait_for(lambda: not processes_in(postgres.pgdata), "the end of PostgreSQL")


def loads_of(run, server, token):
    """Singles and batches with bad events among them, as fast as they are answered; some lose their connection before the answer."""
    return [run.load(server.port, token, connections=16, batch=1, cut_every=10),
            run.load(server.port, token, connections=8, batch=20, bad_every=29, cut_every=10),
            run.load(server.port, token, connections=2, batch=200, bad_every=31)]


def go_on(loads, more):
    seen = sum(load.read() for load in loads)
    wait_for(lambda: sum(load.read() for load in loads) >= seen + more, f"{more} acknowledged events more", seconds=60)


def server_with(run, postgres, name, **settings):
    server = run.server(DATABASE_URL=postgres.create(name), SECRET_KEY=new_secret(), LOG_LEVEL="warn", **settings)
    server.expect_errors = True
    return server


def judged(run, server, token, loads, item, what, seconds, note_more=""):
    """Judges, and notes the rows that every fault under load has."""
    with closing(server.database()) as database:
        first, faults, count = judge(database, server.port, token, loads)
    acked, unknown = len(first.acked), first.unknown
    rate = acked / seconds
    share = 100 * first.proved / unknown if unknown else 0
    run.note(item, "no acknowledged event is lost, none counts twice, sums equal events",
             f"{what}; {acked} acknowledged ({rate:.0f}/s over all){note_more}", faults or "0 lost, 0 doubled, drift 0", not faults)
    bit = share >= 30 if run.long and item in ("R1", "R3") else first.proved > 0  # else the test does not bite
    run.note(item + "/R2", "what is unknown can be sent again",
             f"{count} events twice by 8 threads", f"{unknown} requests unknown, {first.proved} proved committed ({share:.0f} %)", bit or not loads[0].cut_every)
    return first


# ---- R1, R3: kills ----

def r1(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r1", REQUEST_TIMEOUT_SECONDS="5")
    server.start()
    token = sign_up(server.port).token
    dice = random.Random(1)
    loads = loads_of(run, server, token)
    begin, down = time.monotonic(), 0.0
    ways = ("backend", "immediate", "power")
    kills = run.pick(3, 20)
    for i in range(kills):
        go_on(loads, run.pick(300, 1500))
        time.sleep(dice.random())  # the moment of the kill is part of what is tried
        away = time.monotonic()
        if ways[i % 3] == "backend":
            with closing(connect(postgres.url("postgres"))) as admin:
                pids = [r[0] for r in query(admin, "SELECT pid FROM pg_stat_activity WHERE datname = 'r1'")]
            os.kill(dice.choice(pids), signal.SIGKILL)
        elif ways[i % 3] == "immediate":
            postgres.stop(immediate=True)
            postgres.start()
        else:
            kill_all(postgres)
            postgres.start()
        go_on(loads, 1)
        down += time.monotonic() - away
    go_on(loads, run.pick(300, 1500))
    seconds = time.monotonic() - begin
    acked = sum(load.stop().read() for load in loads)
    judged(run, server, token, loads, "R1", f"{kills} kills of PostgreSQL", seconds,
           f", {acked / (seconds - down):.0f}/s while it was up, {down / kills:.1f} s from a kill to the next acknowledgement")
    refused = {status for load in loads for _, _, status, _ in load.refused}
    no_retry = sum(retry < 1 for load in loads for _, _, status, retry in load.refused if status == 503)
    run.note("R1", "refusals are 503 with Retry-After", f"{sum(len(load.refused) for load in loads)} refusals",
             f"statuses {sorted(refused)}, {no_retry} without Retry-After", refused <= {503} and no_retry == 0)
    hung = sum(load.hung for load in loads)
    run.note("R1", "no request hangs", "30 s each", f"{hung} hung", hung == 0)
    server.stop()


def r3(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r3")
    server.start()
    server.settings["PORT"] = server.port
    token = sign_up(server.port).token
    dice = random.Random(3)
    loads = loads_of(run, server, token)
    begin, ready = time.monotonic(), []
    kills = run.pick(3, 20)
    for _ in range(kills):
        go_on(loads, run.pick(300, 1500))
        time.sleep(dice.random())
        server.kill()
        start = time.monotonic()
        server.start()
        ready.append((time.monotonic() - start) * 1000)
    go_on(loads, run.pick(300, 1500))
    seconds = time.monotonic() - begin
    for load in loads:
        load.stop()
    judged(run, server, token, loads, "R3", f"{kills} kills of the server", seconds)
    ready.sort()
    run.note("R3", "ready 1 s after start", f"{kills} starts under load", f"median {ready[len(ready) // 2]:.0f} ms, worst {ready[-1]:.0f} ms",
             ready[-1] <= 1000 or not run.long)
    server.stop()


# ---- R5: the harness can fail ----

def tampered(run):
    """A clean run, then somebody takes away an event, doubles another and changes a sum."""
    postgres = run.postgres()
    server = server_with(run, postgres, "r5c")
    server.start()
    token = sign_up(server.port).token
    load = run.load(server.port, token, connections=4, batch=10)
    load.go_on(200)
    load.stop()
    with closing(server.database()) as database:
        assert Judgement(database, [load]).faults() == {}
        names = [n for n in sorted(load.acked) if not is_keyed(n)]
        query(database, "DELETE FROM events WHERE id = %s", (load.acked[names[0]],))
        query(database, "CREATE TEMP TABLE two AS SELECT * FROM events WHERE id = %s", (load.acked[names[1]],))
        query(database, "UPDATE two SET id = gen_random_uuid()")
        query(database, "INSERT INTO events SELECT * FROM two")
        query(database, "UPDATE usage_hour SET cost = cost + 0.000000000000000001")
        found = Judgement(database, [load]).faults()
    server.stop()
    caught = found.get("lost") == 1 and found.get("doubled") == 1 and found.get("drift", 0) >= 1
    run.note("R5", "the harness sees one lost, one doubled event, a sum wrong by 10^-18", "tampered tables", found, caught)


def disk_forgets(run):
    """The disk says that it has written and has not: after the power cut the last second is gone."""
    postgres = run.postgres()
    server = server_with(run, postgres, "r5a")
    server.start()
    token = sign_up(server.port).token
    load = run.load(server.port, token, connections=4, batch=10)
    load.go_on(200)
    copy = postgres.folder / "copy"
    pids = processes_in(postgres.pgdata)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    subprocess.run(["cp", "-a", postgres.pgdata, copy], check=True)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    load.go_on(300)
    kill_all(postgres)
    load.stop()
    shutil.rmtree(postgres.pgdata)
    copy.rename(postgres.pgdata)
    (postgres.pgdata / "postmaster.pid").unlink(missing_ok=True)
    postgres.start()
    with closing(server.database()) as database:
        found = Judgement(database, [load]).faults()
    wait_for(server.is_ready, "readiness")
    server.stop()
    run.note("R5", "the harness sees a disk that forgets", "pgdata set back to a second before", found, found.get("lost", 0) >= 1)


def lie(run, what, promise):
    """A libpq between server and database that breaks the promise (lying_libpq.c)."""
    postgres = run.postgres(options=["-c", "wal_writer_delay=10s", "-c", "wal_writer_flush_after=1GB", "-c", "wal_buffers=128MB"])
    server = server_with(run, postgres, "r5b", LD_PRELOAD=run.lying, LLMLAB_LIE=what,
                         ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0")
    server.start()
    token = sign_up(server.port).token
    with closing(server.database()) as database:  # what there is before the lie is on the disk
        query(database, "CHECKPOINT")
        writer, = query(database, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")[0]
    os.kill(writer, signal.SIGSTOP)  # it would write after 10 s, which may be just before the end
    load = run.load(server.port, token, connections=8, batch=10)
    load.go_on(run.pick(500, 2000))
    kill_all(postgres)
    load.stop()
    postgres.start()
    with closing(server.database()) as database:
        found = Judgement(database, [load]).faults()
    wait_for(server.is_ready, "readiness")
    server.stop()
    run.note("R5", "the harness sees " + promise, "kill -9 of all of PostgreSQL", found, found.get("lost", 0) >= 1)


def r5(run):
    tampered(run)
    disk_forgets(run)
    lie(run, "async", "commits that do not wait for the disk (synchronous_commit=off, wal_writer_delay=10s)")
    lie(run, "rollback", "acknowledgements without a commit")


# ---- R6, R7: fdatasync ----

class Strace:
    """strace of all of a PostgreSQL, children included."""

    def __init__(self, postgres, inject):
        self.log = postgres.folder / "strace"
        pids = processes_in(postgres.pgdata)
        arguments = [a for pid in pids for a in ("-p", str(pid))]
        self.process = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=" + inject.split(":")[0], "-e", "inject=" + inject,
                                         "-o", str(self.log), *arguments], stdin=subprocess.DEVNULL)
        wait_for(lambda: all(traced(p) for p in pids), "strace")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def traced(pid):
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return True  # ended


def r6(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r6", DB_STATEMENT_MS="10000")
    server.start()
    token = sign_up(server.port).token
    normal = run.load(server.port, token, connections=4)
    normal.go_on(100)
    normal.stop()
    strace = Strace(postgres, "fdatasync:delay_enter=400ms")
    loads = [run.load(server.port, token, connections=4), run.load(server.port, token, connections=2, batch=20)]
    try:
        end = time.monotonic() + run.pick(4, 15)
        wait_for(lambda: time.monotonic() > end and all(len(load.latencies) > 3 for load in loads if load.read() >= 0), "acknowledgements", 60)
        # before the end of strace: nothing that was answered after it counts
        slow = [us for load in loads for us in load.latencies]
    finally:
        strace.end()
    for load in loads:
        load.stop()
    run.note("R6", "acknowledged only after the log is on the disk", f"fdatasync delayed by 400 ms, {len(slow)} acknowledged requests",
             f"fastest {min(slow) / 1000:.1f} ms (without the delay {min(normal.latencies) / 1000:.1f} ms)",
             min(slow) >= 400_000 > min(normal.latencies))
    with closing(server.database()) as database:
        faults = Judgement(database, [normal, *loads]).faults()
    run.note("R6", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


def alive_again(postgres, seconds):
    """Starts it again if it has ended (as a supervisor does), until it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if postgres.process.poll() is not None:
            wait_for(lambda: not processes_in(postgres.pgdata), "the end of PostgreSQL")
            PROCESSES.remove(postgres.process)
            postgres.spawn()
        if postgres.answers():
            return
        time.sleep(0.02)
    raise AssertionError("PostgreSQL does not come back")


def r7(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r7")
    server.start()
    token = sign_up(server.port).token
    loads = loads_of(run, server, token)
    go_on(loads, 300)
    strace = Strace(postgres, "fdatasync:error=EIO:when=20+")
    begin = time.monotonic()
    try:
        wait_for(lambda: postgres.log.count("PANIC") >= run.pick(1, 3) or postgres.process.poll() is not None, "a PANIC", 90)
    finally:
        strace.end()
    alive_again(postgres, 60)
    back = time.monotonic()
    go_on(loads, 1)
    resumed = time.monotonic() - back
    go_on(loads, 300)
    for load in loads:
        load.stop()
    panics = postgres.log.count("PANIC")
    judged(run, server, token, loads, "R7", f"fdatasync fails with EIO, {panics} PANICs", time.monotonic() - begin,
           f", acknowledging {resumed:.1f} s after PostgreSQL answered")
    refused = {status for load in loads for _, _, status, _ in load.refused}
    run.note("R7", "refusals are 503", f"{sum(len(load.refused) for load in loads)} refusals", f"statuses {sorted(refused)}", refused <= {503})
    server.stop()


# ---- R8: disk full ----

CLONE_NEWNS = 0x20000


def mount_small(folder, mebibytes):
    """A small file system that only this process and its children see. False where mounting is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], stderr=subprocess.DEVNULL, check=False).returncode == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0755", "none", folder], stderr=subprocess.DEVNULL, check=False).returncode == 0


def fill(folder):
    """Takes what is left; returns the file."""
    ballast = folder / "ballast"
    with open(ballast, "ab", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while f.write(b"\0" * size) == size:
                    pass
            except OSError:
                pass
    return ballast


def full(run, name, disk, folder, what):
    """Events and reads while the disk is full, and after. `folder`: where to take the space away; None: writes are made to fail."""
    postgres = run.postgres(folder=disk, options=["-c", "min_wal_size=32MB", "-c", "max_wal_size=48MB", "-c", "checkpoint_timeout=30s"])
    if folder is not None and folder != disk:  # the log on a disk of its own
        postgres.stop()
        subprocess.run(["mv", postgres.pgdata / "pg_wal", folder], check=True)
        (postgres.pgdata / "pg_wal").symlink_to(folder / "pg_wal")
        postgres.start()
    server = server_with(run, postgres, name)
    server.start()
    user = sign_up(server.port)
    loads = loads_of(run, server, user.token)
    go_on(loads, 300)
    begin = time.monotonic()
    refused_before = sum(len(load.refused) for load in loads)
    strace = None if folder else Strace(postgres, "pwrite64,pwritev,write,fallocate:error=ENOSPC:when=50+")
    reads = {}
    try:
        ballast = fill(folder) if folder else None
        # a full disk shows when the log needs a new segment, or a table a page
        wait_for(lambda: sum(load.read() * 0 + len(load.refused) for load in loads) > refused_before + 20, "refusals", 120)
        end = time.monotonic() + run.pick(2, 15)
        while time.monotonic() < end:
            status = user.request("GET", "/api/costs/summary").status
            reads[status] = reads.get(status, 0) + 1
            if folder:
                fill(folder)  # a recovery frees some
            time.sleep(0.2)
    finally:
        if folder:
            ballast.unlink()
        else:
            strace.end()
    free = time.monotonic()
    alive_again(postgres, 60)
    answering = time.monotonic() - free
    go_on(loads, 1)
    resumed = time.monotonic() - free
    go_on(loads, 300)
    for load in loads:
        load.stop()
    log = postgres.log
    states = f"{log.count('PANIC')} PANICs, {log.count('No space left')} times no space left"
    judged(run, server, user.token, loads, "R8", f"{what}: {states}", time.monotonic() - begin)
    refused = {status for load in loads for _, _, status, _ in load.refused}
    run.note("R8", "a full disk is 503 for events, reads answer while the database does", f"reads {reads}", f"refusals {sorted(refused)}",
             refused == {503} and set(reads) <= {200, 503})
    run.note("R8", "events again 5 s after there is space", f"PostgreSQL answered after {answering:.1f} s", f"{resumed:.1f} s", resumed <= 5 or not run.long)
    server.stop()
    postgres.stop()


def r8(run):
    disks = [run.folder / "disk", run.folder / "log"]
    for disk in disks:
        disk.mkdir()
    if mount_small(disks[0], 400) and mount_small(disks[1], 96):
        disks[1].chmod(0o777)
        full(run, "r8", disks[0], disks[0], "a full file system")
        full(run, "r8wal", disks[0], disks[1], "a full file system for the log")
        for disk in disks:
            subprocess.run(["umount", "-l", disk], check=True)
    else:
        full(run, "r8", None, None, "writes fail with ENOSPC (nothing may be mounted here)")


# ---- R9, R10, R11: keys and batches ----

def r9(run):
    pairs = run.pick(100, 1000)
    server = server_with(run, run.postgres(), "r9")
    server.start()
    user = sign_up(server.port)
    wrong, firsts = [], {}

    def event(i, variant):
        return {"model": "gpt-4", "input_tokens": 1000 + i, "output_tokens": variant, "timestamp": AT, "idempotency_key": f"k{i}"}

    def send(client, i, variant, single):
        """(status, event id)"""
        if single:
            answer = client.request("POST", "/api/events/track", event(i, variant))
            return answer.status, answer.json.get("event_id")
        result = client.batch([event(i, variant)])["results"][0]
        if "error" in result:
            return (422 if result["error"]["code"] in ("idempotency_mismatch", "idempotency_key_reused", "conflict") else result["error"]["code"]), None
        return (200 if result["duplicate"] else 201), result["event_id"]

    def race(numbers):
        """Both variants of each pair at the same moment."""
        clients = Client(server.port, user.token), Client(server.port, user.token)
        for i in numbers:
            results = [None, None]
            start = threading.Barrier(2)

            def one(variant, i=i, results=results, start=start):
                start.wait()
                results[variant] = send(clients[variant], i, variant, (i + variant) % 3 != 0)

            threads = [threading.Thread(target=one, args=(v,)) for v in (0, 1)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if None in results or sorted(r[0] for r in results) != [201, 422]:
                wrong.append((i, results))
                continue
            winner = 0 if results[0][0] == 201 else 1
            firsts[i] = (winner, results[winner][1])
            # again, one after the other: the loser stays refused, the winner gets its first answer
            if send(clients[0], i, 1 - winner, True)[0] != 422 or send(clients[1], i, winner, False) != (200, results[winner][1]):
                wrong.append((i, "again"))

    threads = [threading.Thread(target=race, args=(range(i, pairs, 4),)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    # the same keys are somebody else's own
    other = sign_up(server.port)
    foreign = other.batch([event(i, 2) for i in range(pairs)])
    with closing(server.database()) as database:
        stored = {i: (v, e) for i, v, e in query(database, "SELECT input_tokens - 1000, output_tokens, id::text FROM events WHERE output_tokens < 2")}
        assert_rollups_equal_events(database)
        count = query(database, "SELECT count(*) FROM events")[0][0]
    run.note("R9", "the same key with another event is refused, whoever comes first", f"{pairs} pairs, single and batch, at the same moment",
             f"{len(wrong)} wrong{', such as ' + repr(wrong[0])[:200] if wrong else ''}", not wrong)
    run.note("R9", "the stored event is unchanged", "", f"{sum(stored.get(i) != firsts.get(i) for i in range(pairs))} changed, {count - 2 * pairs} too many",
             stored == firsts and count == 2 * pairs)
    run.note("R9", "keys are each user's own", f"{pairs} keys of another user", f"{foreign['accepted']} accepted", foreign["accepted"] == pairs)
    server.stop()


def r10(run):
    days = run.pick(40, 400)
    server = server_with(run, run.postgres(), "r10")
    server.start()
    server.settings["PORT"] = server.port
    user = sign_up(server.port)
    now = time.time()

    def event(day):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - day * 86400 * 400 / days))
        return {"model": "gpt-4", "input_tokens": day, "timestamp": at, "idempotency_key": f"old-{day}"}

    events = [event(d) for d in range(days + 1)]
    first = user.batch(events)
    assert first["accepted"] == days + 1, first
    server.kill()
    server.start()
    user = relogin(server, user)
    second = user.batch(events[::-1])
    same = [r["event_id"] for r in second["results"]][::-1] == [r["event_id"] for r in first["results"]]
    with closing(server.database()) as database:
        partitions = query(database, "SELECT count(DISTINCT tableoid) FROM events")[0][0]
        oldest = query(database, "SELECT to_char(min(occurred_at), '\"events_\"YYYY_MM') FROM events")[0][0]
        count = query(database, "SELECT count(*) FROM events")[0][0]
        assert_rollups_equal_events(database)
        query(database, f"DROP TABLE {oldest}")  # as retention does
    third = user.batch(events)
    moved = user.batch([{**e, "timestamp": events[0]["timestamp"]} for e in events[1:]])
    with closing(server.database()) as database:
        calls = query(database, "SELECT sum(calls) FROM usage_hour")[0][0]
    good = (second["duplicates"] == third["duplicates"] == days + 1 and same and count == calls == days + 1 and moved["accepted"] == 0)
    run.note("R10", "a repeat is known however old it is", f"{days + 1} events of 400 days in {partitions} months, server killed, a month dropped",
             f"{second['duplicates']} and {third['duplicates']} duplicates, {calls} counted; {moved['rejected']} of {days} refused with another time", good)
    server.stop()


def relogin(server, user):
    """The same account at the server that came after."""
    client = Client(server.port, user.token)
    assert client.get("/api/auth/me").status == 200
    return client


def r11(run):
    """Batches with bad events among good ones, while connections to the database die and at last the server."""
    postgres = run.postgres()
    server = server_with(run, postgres, "r11")
    server.start()
    server.settings["PORT"] = server.port
    token = sign_up(server.port).token
    dice = random.Random(11)
    loads = [run.load(server.port, token, connections=4, batch=b, bad_every=k) for b, k in ((7, 3), (100, 13), (500, 7))]
    begin = time.monotonic()
    with closing(connect(postgres.url("postgres"))) as admin:
        for _ in range(run.pick(3, 20)):
            go_on(loads, 400)
            time.sleep(dice.random() / 4)
            query(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'r11'")
    go_on(loads, 400)
    server.kill()
    server.start()
    go_on(loads, 400)
    for load in loads:
        load.stop()
    # item by item: what was acknowledged in an answer, and what was refused alone
    refused = sum(len(load.refused_alone) for load in loads)
    falsely = sum(not load.is_bad(n) for load in loads for n in load.refused_alone)
    missed = sum(load.is_bad(n) for load in loads for n in load.acked)
    first = judged(run, server, token, loads, "R11", "batches of 7, 100, 500 with bad events; connections and server killed", time.monotonic() - begin)
    with closing(server.database()) as database:
        bad = query(database, "SELECT count(*) FROM events WHERE input_tokens < 1000")[0][0]
    run.note("R11", "each event of a batch has its own outcome", f"{len(first.acked)} stored, {refused} refused alone",
             f"{falsely} good ones refused, {missed} bad ones taken, {bad} bad ones stored", falsely + missed + bad == 0 and refused > 0)
    server.stop()


# ---- R12, R13: the database hangs or is away ----

def timed(call):
    begin = time.monotonic()
    answer = call()
    return answer.status, time.monotonic() - begin


def crowd_of(server, token, count):
    """Seconds until each of so many readers at once is answered."""
    took = []
    threads = [threading.Thread(target=lambda: took.append(timed(lambda: Client(server.port, token, timeout=40).request("GET", "/api/costs/summary"))[1]))
               for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return took


def r12(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r12")
    server.start()
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1, timestamp=AT)
    loads = [run.load(server.port, user.token, connections=16), run.load(server.port, user.token, connections=4, batch=20)]
    go_on(loads, 300)
    descriptors_before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    threads_before = len(os.listdir(f"/proc/{server.process.pid}/task"))
    answers, stop = [], threading.Event()

    def reader(target):
        client = Client(server.port, user.token, timeout=40)
        while not stop.is_set():
            answers.append((target, *timed(lambda: client.request("GET", target)), time.monotonic()))
            time.sleep(0.05)
        client.close()

    readers = [threading.Thread(target=reader, args=(t,)) for t in ("/api/costs/summary", "/api/events/?limit=5", "/api/health", "/api/auth/me")]
    for t in readers:
        t.start()
    pids = processes_in(postgres.pgdata)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    frozen = time.monotonic()
    try:
        crowd = crowd_of(server, user.token, 40)
        time.sleep(run.pick(1, 6))  # how long it hangs is the fault
        live = [timed(lambda: user.request("GET", "/api/health/live")) for _ in range(5)]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    back = time.monotonic()
    go_on(loads, 1)
    resumed = time.monotonic() - back
    wait_for(lambda: any(a[1] == 200 and a[0] == "/api/costs/summary" and a[3] > back + 0.01 for a in answers), "reading again")
    reading = min(a[3] for a in answers if a[1] == 200 and a[0] == "/api/costs/summary" and a[3] > back + 0.01) - back
    wait_for(server.is_ready, "readiness")
    stop.set()
    for t in readers:
        t.join()
    for load in loads:
        load.stop()
    during = [a for a in answers if frozen < a[3] < back + 3]
    writes = [us / 1e6 for load in loads for us, _, _, _ in load.refused] + [us / 1e6 for load in loads for us in load.latencies]
    worst = {t: max([a[2] for a in during if a[0] == t], default=0) for t in {a[0] for a in during}}
    statuses = sorted({a[1] for a in during})
    slowest = max([max(writes), *worst.values()])
    run.note("R12", "every request is answered within 2.2 s", f"PostgreSQL frozen for {back - frozen:.0f} s; {len(writes)} writes, {len(during)} reads",
             f"slowest write {max(writes):.2f} s, reads " + ", ".join(f"{t} {s:.2f} s" for t, s in sorted(worst.items())),
             slowest <= 2.2 or not run.long)
    run.note("R12", "so is a crowd that waits for a thread", "40 readers at once, EXECUTOR_THREADS=8", f"slowest {max(crowd):.2f} s", max(crowd) <= 2.2 or not run.long)
    run.note("R12", "503 while it hangs, live all the time", f"statuses {statuses}", f"live {live[0][0]} in {max(s for _, s in live) * 1000:.0f} ms",
             set(statuses) <= {200, 503} and all(status == 200 for status, _ in live))
    run.note("R12", "normal again within 1 s", "", f"events after {resumed:.2f} s, reads after {reading:.2f} s", max(resumed, reading) <= 1 or not run.long)
    wait_for(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= descriptors_before, "descriptors to be closed")
    threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
    run.note("R12", "no thread, no descriptor stays", "", f"threads {threads_before} -> {threads}, descriptors no more than before", threads <= threads_before)
    hung = sum(len(load.unknown) for load in loads)
    with closing(server.database()) as database:
        _, faults, _ = judge(database, server.port, user.token, loads)
    run.note("R12", "nothing lost or doubled, no connection cut", "", faults or f"0 lost, 0 doubled, drift 0, {hung} cut", not faults and hung == 0)
    server.stop()


def at_once(server, token, count=16):
    """The statuses of so many readers at the same moment: every thread with a database connection is asked."""
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(Client(server.port, token).request("GET", "/api/costs/summary").status))
               for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return statuses


class CountingDoor:
    """In the place of a PostgreSQL that is away: counts who tries to connect."""

    def __init__(self, folder):
        self.path = folder / ".s.PGSQL.5432"
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.path.chmod(0o777)
        self.socket.listen(128)
        self.times = []
        self.thread = threading.Thread(target=self._count)
        self.thread.start()

    def _count(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.times.append(time.monotonic())
            connection.close()

    def end(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()
        self.path.unlink()


def r13(run):
    postgres = run.postgres()
    server = server_with(run, postgres, "r13")
    postgres.stop()
    door = CountingDoor(postgres.folder)
    server.start(ready=False)
    client = Client(server.port)
    live, ready = client.get("/api/health/live").status, client.get("/api/health/ready").status
    door.end()
    postgres.start()
    back = time.monotonic()
    wait_for(server.is_ready, "readiness")
    took = time.monotonic() - back
    run.note("R13", "starts without a database", "migrates when it is there", f"live {live}, ready {ready}; ready {took:.2f} s after it was there",
             (live, ready) == (200, 503) and (took <= 2 or not run.long))
    token = sign_up(server.port).token
    loads = [run.load(server.port, token, connections=16), run.load(server.port, token, connections=4, batch=20)]
    go_on(loads, 300)
    postgres.stop(immediate=True)
    door = CountingDoor(postgres.folder)
    away = run.pick(5, 60)
    stop = threading.Event()

    def read():
        reading = Client(server.port, token)
        while not stop.is_set():
            reading.request("GET", "/api/costs/summary")
            time.sleep(0.01)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for t in readers:
        t.start()
    time.sleep(away)  # how long it is away is the fault
    status = client.get("/api/health/ready").status, client.get("/api/health/live").status
    door.end()
    stop.set()
    for t in readers:
        t.join()
    attempts = len(door.times) / away
    postgres.start()
    back = time.monotonic()
    go_on(loads, 1)
    resumed = time.monotonic() - back
    while any(status != 200 for status in at_once(server, token)):
        assert time.monotonic() < back + 60
    reading = time.monotonic() - back
    for load in loads:
        load.stop()
    run.note("R13", "at most 10 attempts to connect a second in all", f"away for {away:.0f} s under load, {len(door.times)} attempts", f"{attempts:.1f}/s",
             attempts <= 10 or not run.long)
    run.note("R13", "alive, not ready, and normal 2 s after", f"ready {status[0]}, live {status[1]}", f"events after {resumed:.2f} s, 16 reads at once after {reading:.2f} s", status == (503, 200) and (max(resumed, reading) <= 2 or not run.long))
    with closing(server.database()) as database:
        _, faults, _ = judge(database, server.port, token, loads)
    run.note("R13", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


ITEMS = {"R1": r1, "R3": r3, "R5": r5, "R6": r6, "R7": r7, "R8": r8, "R9": r9, "R10": r10, "R11": r11, "R12": r12, "R13": r13}
