"""Durable accepted webhooks per second: wharfd beside other ways to do it, same client, same PostgreSQL.

    python bench/ingest_durable.py                       # 3 rounds of 3 s at 32 and 128 connections
    python bench/ingest_durable.py --seconds 2 --rounds 1 --peers bare

Every webhook is signed, different from all others, verified, deduplicated and, except for Express, committed
with fsync on before it is answered. Rounds are interleaved (each peer once, then again), so a slow minute of
the machine hits all of them; what counts is the median of the ratios within a round. The client is one
process on the same machine and takes its share of it.

`wharfd` has its processing paused while it is measured and is what to compare: none of the peers does
anything with a webhook once it is accepted. `working` is the same daemon while it processes what it accepts.

Peers: bare (bench/peers/bare_loop.py), fastapi (made a virtual environment of its own), express (npm and a
redis-server, without persistence). What cannot be installed is left out and said so.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from ingest_rig import Peers, load, requests, rig

QUEUE = "/api/webhooks/queue"


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="32,128")
    parser.add_argument("--peers", default="bare,fastapi,express")
    parser.add_argument("--no-working", action="store_true", help="leave out wharfd while it processes")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    with rig() as peers:
        peers.wharfd()
        if not given.no_working:
            peers.ports["working"] = peers.ports["wharfd"]
            peers.servers["working"] = peers.servers["wharfd"]
        for name in filter(None, given.peers.split(",")):
            try:
                getattr(peers, name)()
            except (OSError, subprocess.CalledProcessError, ImportError) as error:
                print(f"{name} is left out: {error}")
        rows = measure(peers, given.seconds, given.rounds, [int(n) for n in given.connections.split(",")])
    report(rows)
    if given.json:
        given.json.write_text(msgspec.json.format(msgspec.json.encode(rows)).decode())


def measure(peers: Peers, seconds: float, rounds: int, connections: list[int]) -> list[dict[str, Any]]:
    """Run the interleaved rounds."""
    rows: list[dict[str, Any]] = []
    for number in range(-1, rounds):  # the first one warms up and does not count
        for count in connections:
            for name in list(peers.ports):
                row = run_one(peers, name, count, 1.0 if number < 0 else seconds)
                if number >= 0:
                    rows.append({"round": number, **row})
    return rows


def run_one(peers: Peers, name: str, connections: int, seconds: float) -> dict[str, Any]:
    """Load one server, and leave it idle."""
    supply = iter(requests(int(seconds * 30_000) + connections))
    if name == "wharfd":
        peers.daemon.ask(QUEUE, {"action": "pause"})
    before = peers.cpu(name)
    rate, times = load(peers.ports[name], connections, seconds, supply)
    server, postgres = (now - then for now, then in zip(peers.cpu(name), before, strict=True))
    if name == "wharfd":
        peers.daemon.ask(QUEUE, {"action": "resume"})
    if name in ("wharfd", "working"):
        peers.daemon.settle()
    times.sort()
    return {
        "peer": name,
        "connections": connections,
        "rate": rate,
        "server_us": server / len(times) * 1e6,
        "postgres_us": postgres / len(times) * 1e6,
        **{f"p{p}": times[min(len(times) - 1, int(len(times) * p / 100))] for p in (50, 99)},
    }


def report(rows: list[dict[str, Any]]) -> None:
    """Print medians, and wharfd's ratio to each peer within the same round."""
    print("CPU µs per webhook: the server's own, and PostgreSQL's")
    print(
        f"{'peer':<10}{'conns':>6}{'per second':>12}{'p50 ms':>9}{'p99 ms':>9}{'server':>8}{'postgres':>9}"
        f"{'wharfd is':>11}"
    )
    for count in sorted({row["connections"] for row in rows}):
        here = [row for row in rows if row["connections"] == count]
        ours = {row["round"]: row["rate"] for row in here if row["peer"] == "wharfd"}
        for name in dict.fromkeys(row["peer"] for row in here):
            mine = [row for row in here if row["peer"] == name]
            ratio = statistics.median(ours[row["round"]] / row["rate"] for row in mine)
            middle = {key: statistics.median(row[key] for row in mine) for key in mine[0] if key != "peer"}
            print(
                f"{name:<10}{count:>6}{middle['rate']:>12,.0f}{middle['p50'] * 1000:>9.1f}"
                f"{middle['p99'] * 1000:>9.1f}{middle['server_us']:>8.0f}{middle['postgres_us']:>9.0f}"
                f"{ratio:>10.2f}×"
            )


if __name__ == "__main__":
    main()
