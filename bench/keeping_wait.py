"""What it costs that commits wait for the receiver of the log: three daemons in turn, on one machine.

    python bench/keeping_wait.py                       # as fast as each goes, and at 500 webhooks a second
    python bench/keeping_wait.py --rounds 5 --rate 1000

One without a receiver, one whose receiver comes behind, one whose commits wait for it. All have a PostgreSQL
of their own, fsync on, on the same disk as their receiver. The webhooks are signed, all different, and wait
in the queue while a daemon is asked for as many as it takes. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ingest_open import send_on_schedule
from ingest_rig import load, requests
from rig import NETBANX, Daemon

BACKUPS = '[plugins.backups]\nbefore_migrations = "off"\ncommits_wait = {}\n'
WAYS = {
    "no receiver": "",
    "the receiver comes behind": BACKUPS.format("false"),
    "commits wait for it": BACKUPS.format("true"),
}


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--callers", type=int, default=64, help="how many send at a time")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    fast = {way: list[float]() for way in WAYS}
    late = {way: list[tuple[float, ...]]() for way in WAYS}
    with ExitStack() as stack:
        daemons = {}
        for number, (way, toml) in enumerate(WAYS.items()):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"wk{number}-")))
            daemons[way] = Daemon(folder, NETBANX + toml)
            stack.callback(daemons[way].stop)
        for count in range(given.rounds + 1):
            for way, daemon in daemons.items():
                daemon.ask("/api/webhooks/queue", {"action": "pause"})
                supply = iter(requests(int(given.seconds * 12_000)))
                rate, _ = load(daemon.ingest, given.callers, given.seconds, supply)
                daemon.ask("/api/webhooks/queue", {"action": "resume"})
                daemon.settle()
                times = sorted(send_on_schedule(daemon.ingest, given.callers, given.rate, given.seconds))
                if count:  # the first round warms up
                    fast[way].append(rate)
                    late[way].append(tuple(times[int(len(times) * q)] * 1000 for q in (0.5, 0.95, 0.99)))
    alone = statistics.median(fast["no receiver"])
    for way in WAYS:
        rate = statistics.median(fast[way])
        p50, p95, p99 = (statistics.median(column) for column in zip(*late[way], strict=True))
        print(f"{way:<28}{rate:7.0f}/s  {rate / alone:.2f}", end="")
        print(f"   at {given.rate:g}/s: p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
