"""The ledger of what clients were told, and the judgement whether the database agrees with it.

The clients are ledger_client.c, which tells what its lines mean; an event is known by (worker, number), which are its output
tokens and its input tokens less 1,000.
"""
import os
import re
import signal
import subprocess
import threading
from decimal import Decimal as D

from llmlab_client import Client
from llmlab_server import PROCESSES, ROOT, query, wait_for

MODELS = ("gpt-4", "gpt-4o", "gpt-4o-mini")
RESENT_MOST = 20000
PER_MILLION = {"gpt-4": (D(30), D(60)), "gpt-4o": (D("2.5"), D(10)), "gpt-4o-mini": (D("0.15"), D("0.6"))}


def is_keyed(number):
    return number % 7 != 5


def event_of(worker, number):
    """What ledger_client.c sends."""
    event = {"model": MODELS[number % 3], "input_tokens": 1000 + number, "output_tokens": worker,
             "timestamp": "2026-06-10T12:00:00Z", "project": f"p{number % 4}"}
    if is_keyed(number):
        event["idempotency_key"] = f"w{worker}-{number}"
    return event


def cost_of(worker, number):
    fresh, output = PER_MILLION[MODELS[number % 3]]
    return ((1000 + number) * fresh + worker * output) / 10 ** 6


def compile_c(name, folder, *options):
    """Builds a helper from this folder; returns its path."""
    target = folder / name.removesuffix(".c")
    include = subprocess.check_output(["pg_config", "--includedir"], text=True).strip()
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-I", include, *options, "-o", str(target),
                    str(ROOT / "tests/fault" / name), "-ldl"], check=True)
    return target


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0


class Load:
    """One ledger client and what its ledger says so far."""

    numbers = iter(range(1, 1 << 30))

    def __init__(self, program, folder, port, token, connections=8, rate=0, batch=1, bad_every=0, cut_every=0):
        self.worker, self.batch, self.bad_every, self.cut_every = next(Load.numbers), batch, bad_every, cut_every
        self.path = folder / f"ledger-{self.worker}"
        self.offset, self.rest = 0, b""
        self.sent = 0            # numbers below this were sent
        self.acked = {}          # number: event id
        self.refused_alone = set()
        self.refused = []        # (microseconds, number, status, Retry-After)
        self.unknown = []        # (microseconds, number) of requests that ended without an answer
        self.hung = 0
        self.not_connected = 0
        self.latencies = []      # microseconds of acknowledged requests
        self.process = subprocess.Popen([str(program), str(port), token, str(self.path), *map(
            str, (self.worker, connections, rate, batch, bad_every, cut_every))], stdin=subprocess.DEVNULL)
        PROCESSES.append(self.process)

    def read(self):
        """Takes in what is new in the ledger; returns how many events are acknowledged."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            data = f.read()
        self.offset += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode().split(" "))
        return len(self.acked)

    def _take(self, words):
        kind = words[0]
        if kind == "S":
            self.sent = int(words[1]) + int(words[2])
        elif kind == "A":
            self.latencies.append(int(words[1]))
            for number, event_id in enumerate(words[3:], int(words[2])):
                if event_id == "-":
                    self.refused_alone.add(number)
                else:
                    self.acked[number] = event_id
        elif kind == "R":
            self.refused.append((int(words[1]), int(words[2]), int(words[3]), int(words[4])))
        elif kind in "LT":
            self.unknown.append((int(words[1]), int(words[2])))
            self.hung += kind == "T"
        elif kind == "N":
            self.not_connected += 1

    def go_on(self, more, seconds=60):
        """Waits until so many events more are acknowledged."""
        seen = self.read()
        wait_for(lambda: self.read() >= seen + more, f"{more} acknowledged events more", seconds=seconds)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(90)
        if self.process in PROCESSES:
            PROCESSES.remove(self.process)
        assert code == 0, f"the ledger client ended with {code}"
        self.read()
        return self

    def is_bad(self, number):
        return self.batch > 1 and self.bad_every > 0 and number % self.bad_every == 0

    def names(self):
        """Everything that was sent and may be stored."""
        return {(self.worker, n) for n in range(self.sent) if not self.is_bad(n)}

    def acked_names(self):
        return {(self.worker, n): e for n, e in self.acked.items()}

    def unknown_requests(self):
        """The events of each."""
        return [[(self.worker, n) for n in range(first, first + self.batch) if not self.is_bad(n)] for _, first in self.unknown]


class Judgement:
    """What is wrong; all zero when all is well."""

    def __init__(self, database, loads):
        query(database, "ANALYZE")  # without it the joins below may take minutes
        self.sent, self.acked, unknown = set(), {}, []
        for load in loads:
            load.read()
            self.sent |= load.names()
            self.acked.update(load.acked_names())
            unknown += load.unknown_requests()
        workers = sorted({w for w, _ in self.sent})
        rows = query(database, "SELECT output_tokens, input_tokens - 1000, id::text, cost FROM events"
                               " WHERE output_tokens = ANY(%s)", (workers,))
        self.stored = {(w, n): e for w, n, e, _ in rows}
        there = {(w, n, e) for w, n, e, _ in rows}
        self.lost = sum((*name, e) not in there for name, e in self.acked.items())
        self.doubled = len(rows) - len(self.stored)
        self.strange = len(set(self.stored) - self.sent)
        self.wrong_cost = sum(cost != cost_of(w, n) for w, n, _, cost in rows)
        self.cost = sum((cost for _, _, _, cost in rows), D(0))
        self.unknown = len(unknown)
        self.unknown_events = {name for names in unknown for name in names}
        self.proved = sum(any(name in self.stored for name in names) for names in unknown)
        self.drift = len(query(database, "SELECT * FROM usage_drift('-infinity', 'infinity')"))
        self.keys_alone = query(database, "SELECT count(*) FROM event_keys k LEFT JOIN events e ON (e.user_id, e.occurred_at, e.id)"
                                          " = (k.user_id, k.occurred_at, k.event_id) WHERE e.id IS NULL")[0][0]
        self.wrong_keys = query(database, "SELECT count(*) FROM event_keys k JOIN events e ON (e.user_id, e.occurred_at, e.id)"
                                          " = (k.user_id, k.occurred_at, k.event_id) WHERE e.output_tokens = ANY(%s)"
                                          " AND k.key <> 'w' || e.output_tokens || '-' || e.input_tokens - 1000", (workers,))[0][0]
        total = query(database, "SELECT coalesce(sum(cost), 0), coalesce(sum(calls), 0) FROM usage_model_15m")[0]
        every = query(database, "SELECT coalesce(sum(cost), 0), count(*) FROM events")[0]
        self.wrong_total = int(total != every)

    def faults(self):
        """{what: how many} of everything that is not 0."""
        names = ("lost", "doubled", "strange", "wrong_cost", "drift", "keys_alone", "wrong_keys", "wrong_total")
        return {n: getattr(self, n) for n in names if getattr(self, n)}


def resend(port, token, judgement):
    """Sends what is unknown, what was refused and a tenth of what is acknowledged twice, from 8 threads: only events with a key,
    of the refused and the acknowledged no more than RESENT_MOST each. Returns (the events, answers that are wrong)."""
    known = sorted(n for n in judgement.acked if is_keyed(n[1]))[::10]
    refused = sorted(n for n in judgement.sent - set(judgement.acked) - judgement.unknown_events if is_keyed(n[1]))
    again, wrong = sorted(n for n in judgement.unknown_events if is_keyed(n[1])), []
    for some in (refused, known):
        again += some[::1 + len(some) // RESENT_MOST]

    def work(part):
        client = Client(port, token, timeout=30)
        for i in range(0, len(part), 200):
            names = part[i:i + 200]
            answer = client.request("POST", "/api/events/batch", {"events": [event_of(*n) for n in names]}, check=False)
            if answer.status != 200:
                wrong.append(answer.status)
                continue
            for name, result in zip(names, answer.json["results"]):
                expected = judgement.acked.get(name) or judgement.stored.get(name)
                if "error" in result or (expected and (result["event_id"] != expected or not result["duplicate"])):
                    wrong.append((name, result))
        client.close()

    # Each thread its own eighth, and once more somebody else's, so that the same event is sent by two threads at a time.
    threads = [threading.Thread(target=work, args=(again[i::8] + again[(i + 3) % 8::8],)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return again, wrong


def judge(database, port, token, loads):
    """The whole procedure after a fault: judged, sent again, judged. Returns (first judgement, faults, events sent again)."""
    first = Judgement(database, loads)
    again, wrong = resend(port, token, first)
    second = Judgement(database, loads)
    faults = first.faults() | {f"{k} after the resend": v for k, v in second.faults().items()}
    if wrong:
        faults["wrong answers to the resend"] = len(wrong)
        faults["such as"] = repr(wrong[0])[:300]
    missing = set(again) - set(second.stored)
    if missing:
        faults["missing after the resend"] = len(missing)
    moved = sum(second.stored.get(n) != e for n, e in first.stored.items())
    if moved:
        faults["changed by the resend"] = moved
    return first, faults, len(again)


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
