"""A million webhooks: what memory grows by, and what reading costs over the million transactions they make.

    python bench/ingest_million.py                       # about ten minutes
    python bench/ingest_million.py --count 100000

Memory is the daemon's resident set after its queue is worked. Pages are read with a cursor each that nobody
asked for before, so no cache has them; analytics are asked for again and again, and set beside the SQL that
counts the same over the table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ingest_open import ask
from ingest_rig import Peers, load, requests, rig

COMPUTE = """EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT type, status, currency, method,
count(*), sum(amount) FROM netbanx.transactions
WHERE created_at > now() - interval '30 days' GROUP BY 1, 2, 3, 4"""


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
        load(peers.ports["wharfd"], 32, min(2.0, counted.left / 4000), counted)
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


def read(peers: Peers) -> None:
    """Measure pages and analytics."""
    ask(peers, "ANALYZE netbanx.transactions")
    total = int(ask(peers, "SELECT count(*) FROM netbanx.transactions")[0])
    print(f"{total:,} transactions")
    path = "/api/v1/transactions"
    pages = [f"{path}?limit={limit}&page={page}" for limit in range(20, 60) for page in range(1, 6)]
    remaining = iter(pages)
    took = timed(lambda: peers.ask(next(remaining)), len(pages))
    p95 = took[int(len(took) * 0.95)]
    p50 = statistics.median(took)
    print(f"uncached page of transactions, {len(took)} pages: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    first = timed(lambda: peers.ask("/api/v1/analytics?timeRange=month"), 1)[0]
    cached = statistics.median(timed(lambda: peers.ask("/api/v1/analytics?timeRange=month"), 200))
    computed = statistics.median(timed(lambda: ask(peers, COMPUTE), 5))
    print(
        f"analytics of a month: first {first:.1f} ms, cached {cached:.2f} ms, "
        f"computed in SQL {computed:.0f} ms: {computed / cached:.0f}×"
    )


if __name__ == "__main__":
    main()
