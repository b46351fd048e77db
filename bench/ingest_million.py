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
import time
from collections.abc import Callable, Iterator

from ingest_rig import load, requests, rig
from rig import Daemon, query

from wharfd.testing.postgres import Cluster

COMPUTE = """EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT date_trunc('day', created_at), type, status,
currency, method, count(*), sum(amount) FROM netbanx.transactions
WHERE created_at > now() - interval '30 days' GROUP BY 1, 2, 3, 4, 5"""
SIZE = "SELECT pg_size_pretty(pg_total_relation_size('netbanx.transactions'))"
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


def send(daemon: Daemon, count: int) -> None:
    """Have so many accepted and worked."""
    counted = Counted(count)
    while counted.left > 0:
        load(daemon.ingest, CONNECTIONS, min(5.0, counted.left / 6000), counted)
        if daemon.ask("/api/webhooks/queue")["queue"]["waiting"] > BACKLOG:
            daemon.settle(600)
    daemon.settle(600)


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
        daemon = peers.wharfd()
        send(daemon, 2000)  # warms up: code, caches and connections are there now
        began = daemon.memory_mib()
        print(f"resident after the first 2,000: {began:.1f} MiB", flush=True)
        sent, started = 0, time.monotonic()
        for count in (10_000, 100_000, 300_000, given.count):
            if count > given.count:
                continue
            send(daemon, count - sent)
            sent = count
            grown = daemon.memory_mib() - began
            print(f"after {count:,}: {grown:+.1f} MiB ({time.monotonic() - started:.0f} s)", flush=True)
        read(daemon, peers.cluster)


def computed(cluster: Cluster) -> float:
    """Return how many milliseconds PostgreSQL takes to count it all once more."""
    return float(json.loads(query(cluster, "served", COMPUTE))[0]["Execution Time"])


def pages(what: str, step: Callable[[], object], count: int = 200) -> None:
    """Ask for so many pages that nobody asked for before, and print how long they took."""
    took = timed(step, count)
    p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
    print(f"uncached pages of transactions {what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms", flush=True)


def walk(daemon: Daemon) -> Callable[[], object]:
    """Return what asks for the next page, each by the cursor of the one before."""
    cursor = ""

    def step() -> None:
        nonlocal cursor
        found = daemon.ask(f"{PATH}?limit=50{cursor}")["data"]["pagination"]["nextCursor"]
        cursor = f"&cursor={found}"

    return step


def read(daemon: Daemon, cluster: Cluster) -> None:
    """Measure pages and analytics."""
    cluster.psql("served", "ANALYZE netbanx.transactions")
    total = int(query(cluster, "served", "SELECT count(*) FROM netbanx.transactions"))
    size = query(cluster, "served", SIZE).strip()
    print(f"{total:,} transactions, {size} with their indexes", flush=True)
    numbered = (f"{PATH}?limit={limit}&page={page}" for limit in range(20, 60) for page in range(1, 6))
    pages("by number", lambda: daemon.ask(next(numbered)))
    pages("by cursor", walk(daemon))
    filters = ("status=COMPLETED", "currency=EUR", "status=PENDING", "type=PAYMENT", "endDate=2100-01-01")
    filtered = (f"{PATH}?limit={limit}&{one}" for limit in range(20, 60) for one in filters)
    pages("by a filter", lambda: daemon.ask(next(filtered)))
    month = "/api/v1/analytics?timeRange=month"
    first = timed(lambda: daemon.ask(month), 1)[0]
    cached = statistics.median(timed(lambda: daemon.ask(month), 200))
    plain = statistics.median(computed(cluster) for _ in range(5))
    print(
        f"analytics of a month: first {first:.1f} ms, cached {cached:.2f} ms, "
        f"computed in SQL {plain:.0f} ms: {plain / cached:.0f}×"
    )


if __name__ == "__main__":
    main()
