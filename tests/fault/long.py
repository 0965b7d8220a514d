#!/usr/bin/python3
"""The long form of the fault tests: every item of docs/reliability.md at its full size, a table, and build/fault/results.json.

usage: tests/fault/long.py [--bin build/release/llmlab] [--items R1,R3,A1] [--scale 1.0] [--short]

--scale 0.5 halves what is repeated or takes time; --short takes the sizes of scripts/test. Needs root for R6 to R8 (strace, mount).
The exit code is 0 only if every promise held. The generator, the server and PostgreSQL share the machine's processors.
"""
import argparse
import os
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/fault")]


def tell(entry):
    print(f"| {entry['item']} | {entry['promise']} | {entry['done']} | {entry['figure']} | {'yes' if entry['passed'] else 'NO'} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "build/release/llmlab"))
    parser.add_argument("--items", default="all")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--results", default=str(ROOT / "build/fault/results.json"))
    options = parser.parse_args()
    os.environ["LLMLAB_BIN"] = options.bin
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    import durability
    import overload
    from llmlab_server import end_all
    from run import Run
    items = durability.ITEMS | overload.ITEMS
    chosen = list(items) if options.items == "all" else options.items.split(",")
    run = Run(long=not options.short, scale=options.scale, tell=tell)
    print("| item | promise | done | figure | held |\n| --- | --- | --- | --- | --- |")
    try:
        for name in chosen:
            begin = time.monotonic()
            run.do(name, items[name])
            run.write(Path(options.results))
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    finally:
        end_all()
    failed = [n for n in run.notes if not n["passed"]]
    print(f"{len(run.notes) - len(failed)} held, {len(failed)} did not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
