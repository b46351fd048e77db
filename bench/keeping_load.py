"""How much ingest slows down while a backup is taken and while a restore is tried, in one whole daemon.

    python bench/keeping_load.py --gib 1                 # as many webhooks as it takes, 16 connections
    python bench/keeping_load.py --gib 1 --rate 500      # at a fixed rate: how long a provider waits
    python bench/keeping_load.py --data DIR              # on a copy of what `bench/keeping.py fill` has made

The daemon has its own PostgreSQL (fsync on), receives the log, encrypts and copies to a second place, and is
asked over its API for the backup and for the drill with all its checks. Webhooks are signed, all different,
and committed before they are answered. Without `--rate` processing is paused, as in `ingest_durable.py`; with
it the daemon processes what it accepts. Client, daemon and PostgreSQL share the machine: one that is
saturated shows in full what a backup costs. Alone is measured before, between and after; what counts is the
ratio to the mean of the two beside it. `--pace 0` lets both go as fast as they can.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keeping
import trio
from ingest_open import send_on_schedule
from ingest_rig import load, requests
from rig import NETBANX, Daemon

CONNECTIONS = 16
STEP = 1.0
CONFIG = """
[plugins.backups]
before_migrations = "off"
pace = {pace:g}
second = {{ folder = "{folder}/second" }}
"""


class Meter:
    """Loads a daemon in steps of a second, for a time or for as long as something goes on."""

    def __init__(self, daemon: Daemon, rate: float | None) -> None:
        self.daemon, self.rate = daemon, rate

    def measure(self, what: str, goes_on: Callable[[float], bool]) -> float:
        """Print and return what counts: accepted a second, or, at a fixed rate, p95 in ms."""
        rates, times, began = list[float](), list[float](), time.perf_counter()
        while goes_on(time.perf_counter() - began):
            if self.rate is None:
                supply = iter(requests(int(STEP * 12_000)))
                rate, some = load(self.daemon.ingest, CONNECTIONS, STEP, supply)
                rates.append(rate)
            else:
                some = send_on_schedule(self.daemon.ingest, CONNECTIONS, self.rate, STEP)
            times += some
        p50, p95, p99 = (sorted(times)[int(len(times) * q)] * 1000 for q in (0.5, 0.95, 0.99))
        mean = statistics.mean(rates) if rates else self.rate
        print(f"{what:<26}{mean:8.0f}/s   p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f} ms", flush=True)
        return mean if self.rate is None else p95

    def alone(self, seconds: float) -> float:
        """Measure with nothing else going on."""
        return self.measure("alone", lambda gone: gone < seconds)

    def during(self, what: str, path: str) -> float:
        """Measure while a run that is asked for goes on, and say how it went."""
        run = self.daemon.ask(path, {})["run"]
        found: dict[str, Any] = {}

        def goes_on(gone: float) -> bool:
            found.update(self.daemon.ask(f"/api/v1/backups/runs/{run}"))
            return found["state"] not in ("done", "failed")

        value = self.measure(what, goes_on)
        if found["state"] != "done":
            raise SystemExit(f"{what} failed: {found['error']}")
        result = found["result"]
        print(f"  {what}: {result.get('took_seconds') or result.get('phases')} s", flush=True)
        return value


def run(folder: Path, rate: float | None, seconds: float, pace: float) -> None:
    """Measure alone, with a backup, alone, with a drill, alone."""
    daemon = Daemon(folder, NETBANX + CONFIG.format(folder=folder, pace=pace))
    try:
        if rate is None:
            daemon.ask("/api/webhooks/queue", {"action": "pause"})
        meter = Meter(daemon, rate)
        meter.measure("warm-up, does not count", lambda gone: gone < 3)
        before = meter.alone(seconds)
        backup = meter.during("while a backup is taken", "/api/v1/backups")
        between = meter.alone(seconds)
        drill = meter.during("while a drill runs", "/api/v1/backups/drills")
        after = meter.alone(seconds)
    finally:
        daemon.stop()
    for what, value, beside in (("backup", backup, (before, between)), ("drill", drill, (between, after))):
        ratio = value / statistics.mean(beside)
        words = f"{100 * (1 - ratio):+.0f} % slower" if rate is None else f"p95 {ratio:.2f} times as long"
        print(f"{what}: {words}")


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--data", type=Path, help="a database that `keeping.py fill` has made; it is copied")
    parser.add_argument("--rate", type=float, help="webhooks a second; as many as it takes without")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long alone is measured each time")
    parser.add_argument("--pace", type=float, default=50.0, help="[plugins.backups] pace")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    folder = Path(tempfile.mkdtemp(prefix="wl-", dir=given.data and given.data.absolute().parent))
    try:
        if given.data is None:
            trio.run(keeping.fill, folder, given.gib)
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", str(given.data / "state"), str(folder)], check=True)
        subprocess.run(["sync", "-f", str(folder)], check=True)
        run(folder, given.rate, given.seconds, given.pace)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
