"""A million webhooks: what memory grows by, and what reading costs over the million transactions they make.

    python bench/ingest_million.py                       # about six minutes
    python bench/ingest_million.py --count 50000

Memory is the daemon's resident set after its queue is worked. No page is asked for twice, so no cache has
them; analytics are asked for again and again, and set beside the SQL that counts the same over the table.
Client, daemon and PostgreSQL (fsync on) share the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ingest_open import ask
from ingest_rig import Peers, load, requests, rig

COMPUTE = """EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT date_trunc('day', created_at), type, status,
currency, method, count(*), sum(amount) FROM netbanx.transactions
WHERE created_at > now() - interval '30 days' GROUP BY 1, 2, 3, 4, 5"""
CONNECTIONS = 128
BACKLOG = 40_000  # no more is sent while so many wait to be worked
PATH = "/api/v1/transactions"


def supply() -> Iterator[bytes]:
    """Make signed requests without end."""
    while True:
        yield from requests(2000)


class Counted:
    """Stops the load after so many."""

    def __init__(self, count: int) -> None:
        self.left = count
        self._supply = supply()

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> bytes:
        self.left -= 1
        return next(self._supply)


def resident_mib(pid: int) -> float:
    """Return the resident set of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("the daemon is gone")


def send(peers: Peers, count: int) -> None:
    """Have so many accepted and worked."""
    counted = Counted(count)
    while counted.left > 0:
        load(peers.ports["wharfd"], CONNECTIONS, min(5.0, counted.left / 6000), counted)
        if peers.ask("/api/webhooks/queue")["queue"]["waiting"] > BACKLOG:
            peers.settle(600)
    peers.settle(600)


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return how long each call took, sorted, in milliseconds."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        took.append((time.perf_counter() - started) * 1000)
    return sorted(took)


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    given = parser.parse_args()
    with rig() as peers:
        peers.wharfd()
        pid = peers.servers["wharfd"].pid
        send(peers, 2000)  # warms up: code, caches and connections are there now
        began = resident_mib(pid)
        print(f"resident after the first 2,000: {began:.1f} MiB", flush=True)
        sent, started = 0, time.monotonic()
        for count in (10_000, 100_000, 300_000, given.count):
            if count > given.count:
                continue
            send(peers, count - sent)
            sent = count
            grown = resident_mib(pid) - began
            print(f"after {count:,}: {grown:+.1f} MiB ({time.monotonic() - started:.0f} s)", flush=True)
        read(peers)


def computed(peers: Peers) -> float:
    """Return how many milliseconds PostgreSQL takes to count it all once more."""
    psql = [str(peers.cluster.bin / "psql"), "-X", "-A", "-t", "-h", str(peers.cluster.folder)]
    command = [*psql, "-U", "postgres", "-d", "bench_wharfd", "-c", COMPUTE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)[0]["Execution Time"])


def pages(what: str, step: Callable[[], object], count: int = 200) -> None:
    """Ask for so many pages that nobody asked for before, and print how long they took."""
    took = timed(step, count)
    p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
    print(f"uncached pages of transactions {what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms", flush=True)


def walk(peers: Peers) -> Callable[[], object]:
    """Return what asks for the next page, each by the cursor of the one before."""
    cursor = ""

    def step() -> None:
        nonlocal cursor
        found = peers.ask(f"{PATH}?limit=50{cursor}")["data"]["pagination"]["nextCursor"]
        cursor = f"&cursor={found}"

    return step


def read(peers: Peers) -> None:
    """Measure pages and analytics."""
    ask(peers, "ANALYZE netbanx.transactions")
    total = int(ask(peers, "SELECT count(*) FROM netbanx.transactions")[0])
    size = ask(peers, "SELECT pg_size_pretty(pg_total_relation_size('netbanx.transactions'))")[0]
    print(f"{total:,} transactions, {size} with their indexes", flush=True)
    numbered = (f"{PATH}?limit={limit}&page={page}" for limit in range(20, 60) for page in range(1, 6))
    pages("by number", lambda: peers.ask(next(numbered)))
    pages("by cursor", walk(peers))
    filters = ("status=COMPLETED", "currency=EUR", "status=PENDING", "type=PAYMENT", "endDate=2100-01-01")
    filtered = (f"{PATH}?limit={limit}&{one}" for limit in range(20, 60) for one in filters)
    pages("by a filter", lambda: peers.ask(next(filtered)))
    month = "/api/v1/analytics?timeRange=month"
    first = timed(lambda: peers.ask(month), 1)[0]
    cached = statistics.median(timed(lambda: peers.ask(month), 200))
    plain = statistics.median(computed(peers) for _ in range(5))
    print(
        f"analytics of a month: first {first:.1f} ms, cached {cached:.2f} ms, "
        f"computed in SQL {plain:.0f} ms: {plain / cached:.0f}×"
    )


if __name__ == "__main__":
    main()
