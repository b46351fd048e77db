"""How much ingest slows down while a backup is taken and while a restore is tried, in one whole daemon.

    python bench/keeping_load.py --gib 1                 # as many webhooks as it takes, 16 connections
    python bench/keeping_load.py --gib 1 --rate 500      # at a fixed rate: how long a provider waits
    python bench/keeping_load.py --data DIR              # on a copy of what `bench/keeping.py fill` has made

Twice the same, in turn: a new daemon on a copy of the same data is loaded for as long as the errand takes,
once with the errand and once without. So tables grow and checkpoints come alike in both; two stretches of one
daemon differ by more than the errand costs. The ratio is that of all webhooks accepted, or of the p95.

The daemon has its own PostgreSQL (fsync on), receives the log, encrypts and copies to a second place, and
is asked over its API. Webhooks are signed, all different, and wait in the queue unless the rate is fixed:
then it processes what it accepts. Client, daemon and PostgreSQL share the machine: one that is saturated
shows in full what a backup costs. `--pace 0` lets backup and drill go as fast as they can.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keeping
import trio
from ingest_open import send_on_schedule
from ingest_rig import load, requests
from rig import NETBANX, Daemon

CONNECTIONS = 16
STEP = 1.0
WARM_UP = 3
ERRANDS = {"backup": "/api/v1/backups", "drill": "/api/v1/backups/drills"}
CONFIG = """
[plugins.backups]
before_migrations = "off"
pace = {pace:g}
second = {{ folder = "{folder}/second" }}
"""
Step = tuple[float, list[float]]


class Load:
    """Webhooks for one daemon, a second at a time: how many were accepted, and how long each took."""

    def __init__(self, daemon: Daemon, rate: float | None) -> None:
        self.daemon, self.rate = daemon, rate

    def step(self) -> Step:
        if self.rate is None:
            return load(self.daemon.ingest, CONNECTIONS, STEP, iter(requests(int(STEP * 12_000))))
        return self.rate, send_on_schedule(self.daemon.ingest, CONNECTIONS, self.rate, STEP)

    def during(self, errand: str) -> list[Step]:
        """Load it for as long as an errand takes that is asked for now."""
        run, steps = self.daemon.ask(ERRANDS[errand], {})["run"], list[Step]()
        while not (found := self.ended(run)):
            steps.append(self.step())
        if found["state"] == "failed":
            raise SystemExit(f"the {errand} failed: {found['error']}")
        return steps

    def ended(self, run: str) -> dict[str, Any] | None:
        found: dict[str, Any] = self.daemon.ask(f"/api/v1/backups/runs/{run}")
        return found if found["state"] in ("done", "failed") else None

    def back_up(self) -> None:
        """Take a backup that a drill can try, before anything is measured."""
        run = self.daemon.ask(ERRANDS["backup"], {})["run"]
        while not self.ended(run):
            self.step()


@contextmanager
def loaded(data: Path, given: argparse.Namespace, errand: str) -> Iterator[Load]:
    """A new daemon on a copy of the data, warmed up."""
    folder = Path(tempfile.mkdtemp(prefix="wl-", dir=data.parent))
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", str(data / "state"), str(folder)], check=True)
        subprocess.run(["sync", "-f", str(folder)], check=True)
        daemon = Daemon(folder, NETBANX + CONFIG.format(folder=folder, pace=given.pace))
        try:
            if given.rate is None:
                daemon.ask("/api/webhooks/queue", {"action": "pause"})
            one = Load(daemon, given.rate)
            if errand == "drill":
                one.back_up()
            for _ in range(WARM_UP):
                one.step()
            yield one
        finally:
            daemon.stop()
    finally:
        shutil.rmtree(folder)


def say(what: str, steps: list[Step]) -> tuple[float, float]:
    """Print and return how many were accepted a second, and the p95 in ms."""
    rate, times = statistics.mean(step[0] for step in steps), sorted(t for step in steps for t in step[1])
    p50, p95, p99 = (times[int(len(times) * q)] * 1000 for q in (0.5, 0.95, 0.99))
    print(
        f"{what:<16}{len(steps):4d} s {rate:7.0f}/s   p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f} ms",
        flush=True,
    )
    return rate, p95


def pair(data: Path, given: argparse.Namespace, errand: str) -> float:
    """Return what with the errand is of what is without."""
    with loaded(data, given, errand) as one:
        steps = one.during(errand)
    with loaded(data, given, errand) as one:
        alone = [one.step() for _ in steps]
    beside, without = say(f"with a {errand}", steps), say("without", alone)
    return beside[0] / without[0] if given.rate is None else beside[1] / without[1]


def run(data: Path, given: argparse.Namespace) -> None:
    """Measure round after round, and print the medians."""
    for errand in ERRANDS:
        ratios = [pair(data, given, errand) for _ in range(given.rounds)]
        middle, shown = statistics.median(ratios), " ".join(f"{ratio:.2f}" for ratio in ratios)
        if given.rate is None:
            print(f"{errand}: {100 * (1 - middle):+.0f} % slower ({shown})", flush=True)
        else:
            print(f"{errand}: p95 {middle:.2f} times as long ({shown})", flush=True)


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--data", type=Path, help="a database that `keeping.py fill` has made; it is copied")
    parser.add_argument("--rate", type=float, help="webhooks a second; as many as it takes without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pace", type=float, default=20.0, help="[plugins.backups] pace")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    if given.data is not None:
        run(given.data.absolute(), given)
        return
    with tempfile.TemporaryDirectory(prefix="wd-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        trio.run(keeping.fill, data, given.gib)
        run(data, given)


if __name__ == "__main__":
    main()
