"""The work engine beside procrastinate and pgqueuer, on the same PostgreSQL, in the same run.

    python bench/work_peers.py [--rows 10000] [--rounds 3] [--json FILE]

Every contestant works the same number of jobs that do nothing, in one process, then in two. Rounds are
interleaved (each contestant once, then again), so a slow minute of the machine hits all of them; ratios are
taken within a round and their median reported. The peers are installed, pinned, into a virtual environment
of their own that is thrown away afterwards. Their settings: procrastinate with concurrency 16, as our
single- row handlers have; pgqueuer on uvloop with batches of 100, as our batch handlers have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import work_engine
from peers.registry import PINNED, install_python
from rig import durable_postgres, make_database

from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.db.migrations import apply
from wharfd.testing import postgres

HERE = Path(__file__).parent
PEERS = ("procrastinate", "pgqueuer")
LEFT = {
    "procrastinate": sql(
        "bench.left_procrastinate",
        "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
    ),
    "pgqueuer": sql(
        "bench.left_pgqueuer", "SELECT EXISTS (SELECT FROM pgqueuer WHERE status IN ('queued', 'picked'))"
    ),
}
TIDY = {
    "procrastinate": "TRUNCATE procrastinate_jobs CASCADE",
    "pgqueuer": "TRUNCATE pgqueuer, pgqueuer_log",
}
LONGEST_SECONDS = 180
SHARE = {
    "procrastinate": 8
}  # it commits twice for every job: an eighth of the jobs, or it takes all the time


def install(folder: Path) -> dict[str, Path]:
    """Install every peer into an environment of its own and return their interpreters."""
    found = {}
    for name in PEERS:
        try:
            found[name] = install_python(name, folder / name)
        except subprocess.CalledProcessError:
            print(f"{name} cannot be installed here and is left out", file=sys.stderr)
    return found


class Peer:
    """One other engine, on a database of its own."""

    def __init__(self, name: str, python: Path, url: str) -> None:
        self.name = name
        self._command = [str(python), str(HERE / "peers" / f"{name}_worker.py"), url]

    async def run(self, *arguments: str) -> None:
        """Run one of the script's commands to its end."""
        await trio.run_process([*self._command, *arguments])

    @asynccontextmanager
    async def workers(self, count: int):
        """Workers that wait for the word."""
        opened = [
            await trio.lowlevel.open_process(
                [*self._command, "work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(count)
        ]
        try:
            for process in opened:
                assert (await process.stdout.receive_some(100)).startswith(b"ready"), f"{self.name} failed"
            yield opened
        finally:
            for process in opened:
                process.kill()
                await process.wait()


async def measure(peer: Peer, database, count: int, rows: int) -> float:
    """Return how many jobs per second a peer finishes in `count` processes."""
    rows = max(1000, rows // SHARE.get(peer.name, 1))
    await database.owner.execute(sql(f"bench.tidy_{peer.name}", TIDY[peer.name]))
    await peer.run("fill", str(rows))
    await database.owner.execute(sql("bench.analyze", "VACUUM ANALYZE"))
    async with peer.workers(count) as opened:
        began = time.perf_counter()
        for process in opened:
            await process.stdin.send_all(b"go\n")
        with trio.fail_after(LONGEST_SECONDS):
            while await database.fetchval(LEFT[peer.name]):  # noqa: ASYNC110  other processes end it
                await trio.sleep(0.01)
        return rows / (time.perf_counter() - began)


async def compare(cluster: postgres.Cluster, pythons: dict[str, Path], options) -> dict:
    """Play all rounds and return the figures."""
    ours = ("single", "batch")
    names = [*ours, *pythons]
    found = {(name, count): [] for name in names for count in (1, 2)}
    async with open_bridge() as bridge:
        databases, peers = {}, {}
        async with trio.open_nursery() as nursery:
            for name in ("bench", *pythons):
                opened = open_database(bridge, DatabaseSettings(url=cluster.dsn(name)))
                databases[name] = await nursery.start(_hold, opened)
            await apply(databases["bench"], [])
            await databases["bench"].owner.execute(work_engine.TABLE)
            for name, python in pythons.items():
                peers[name] = Peer(name, python, cluster.dsn(name))
                await peers[name].run("install")
            server = dict(await databases["bench"].fetchrow(work_engine.SERVER))
            for number in range(options.rounds):
                for name, count in found:
                    if name in ours:
                        url = cluster.dsn("bench")
                        rate = await work_engine.measure(databases["bench"], name, count, options.rows, url)
                    else:
                        rate = await measure(peers[name], databases[name], count, options.rows)
                    found[name, count].append(rate)
                    print(
                        f"round {number + 1}  {name:14} {count} process(es) {rate:9,.0f} jobs/s", flush=True
                    )
            nursery.cancel_scope.cancel()
    figures = []
    for (name, count), rates in found.items():
        ratios = {
            mine: statistics.median(a / b for a, b in zip(found[mine, count], rates, strict=True))
            for mine in ours
        }
        figures.append(
            {
                "contestant": name,
                "processes": count,
                "jobs_per_second": round(statistics.median(rates)),
                "lowest": round(min(rates)),
                "highest": round(max(rates)),
                "wharfd_single_over_it": round(ratios["single"], 1),
                "wharfd_batch_over_it": round(ratios["batch"], 1),
            }
        )
    return {"machine": work_engine.machine(), "server": server, "rows": options.rows, "figures": figures}


async def _hold(opened, task_status=trio.TASK_STATUS_IGNORED) -> None:
    async with opened as database:
        task_status.started(database)
        await trio.sleep_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="wharfd-peers-") as folder,
        durable_postgres("bench", autovacuum_naptime="60s") as cluster,
    ):
        pythons = install(Path(folder))
        for name in pythons:
            make_database(cluster, name)
        result = trio.run(compare, cluster, pythons, options)
    print(f"\n{result['machine']}\n{result['server']['version']}, fsync {result['server']['fsync']}")
    print(", ".join(package for name in PEERS for package in PINNED[name]))
    print(f"{options.rows} jobs per run, medians of {options.rounds} rounds (lowest to highest)\n")
    for figure in result["figures"]:
        print(
            f"{figure['contestant']:14} {figure['processes']} process(es)"
            f" {figure['jobs_per_second']:>8,} jobs/s ({figure['lowest']:,} to {figure['highest']:,})"
            f"  wharfd single {figure['wharfd_single_over_it']:.1f} ×"
            f"  batch {figure['wharfd_batch_over_it']:.1f} ×"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
