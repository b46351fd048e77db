"""Webhooks at a fixed rate: how long a provider waits, how late an event is worked, whether work piles up.

    python bench/ingest_open.py                          # 1,000/s for 60 s
    python bench/ingest_open.py --rate 2000 --seconds 20

The schedule does not wait for answers: a webhook is due at its time whether or not earlier ones were
answered, and its time counts from when it was due. Client, daemon and PostgreSQL (fsync on) share the
machine.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import time
from collections import deque

from ingest_rig import requests, rig
from rig import query

LAG = """SELECT count(*),
  round(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY lag)) * 1000, 1),
  round(extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY lag)) * 1000, 1),
  round(extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (ORDER BY lag)) * 1000, 1),
  round(extract(epoch FROM max(lag)) * 1000, 1)
FROM (SELECT finished_at - received_at AS lag FROM netbanx.events
  WHERE state = 'done' AND received_at >= to_timestamp({since})) worked"""


def send_on_schedule(port: int, connections: int, rate: float, seconds: float) -> list[float]:
    """Send at that rate and return how long each took, from when it was due to its answer."""
    supply = deque(requests(int(rate * seconds)))
    selector = selectors.DefaultSelector()
    free: deque[socket.socket] = deque()
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(one, selectors.EVENT_READ)
        free.append(one)
    due_of: dict[socket.socket, float] = {}
    times: list[float] = []
    started = time.perf_counter() + 0.05
    number = 0
    while supply or due_of:
        now = time.perf_counter()
        while supply and free and started + number / rate <= now:
            one = free.popleft()
            due_of[one] = started + number / rate
            number += 1
            one.sendall(supply.popleft())
        pause = max(0.0, started + number / rate - time.perf_counter()) if supply and free else 5.0
        for key, _ in selector.select(pause):
            one = key.fileobj
            data = one.recv(65536)
            while data and b"success" not in data:
                data += one.recv(65536)
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a delivery was refused: {data[:200]!r}")
            times.append(time.perf_counter() - due_of.pop(one))
            free.append(one)
    return times


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    with rig() as peers:
        daemon = peers.wharfd()
        send_on_schedule(daemon.ingest, given.connections, given.rate, 3)  # warms up and does not count
        daemon.settle()
        since, before = time.time(), peers.cpu("wharfd")
        times = sorted(send_on_schedule(daemon.ingest, given.connections, given.rate, given.seconds))
        waiting = daemon.ask("/api/webhooks/queue")["queue"]["waiting"]
        server, postgres = (now - then for now, then in zip(peers.cpu("wharfd"), before, strict=True))
        daemon.settle()
        worked, *lags = query(peers.cluster, "served", LAG.format(since=since)).strip().split("|")
    print(f"{given.rate:,.0f}/s for {given.seconds:g} s over {given.connections} connections")
    quantiles = [times[min(len(times) - 1, int(len(times) * q))] * 1000 for q in (0.5, 0.95, 0.99, 0.999, 1)]
    print("accepted  ", f"{len(times):,}", "  p50 p95 p99 p99.9 max ms:", *(f"{q:.1f}" for q in quantiles))
    print("processed ", f"{int(worked):,}", "  accepted to processed p50 p95 p99 max ms:", *lags)
    print("waiting when the last was accepted:", waiting)
    print(f"CPU: server {server / given.seconds:.0%} of a core, PostgreSQL {postgres / given.seconds:.0%}")


if __name__ == "__main__":
    main()
