"""How many rows per second the work engine claims and finishes, beside a bare claim/finish loop.

    python bench/work_engine.py [--rows 30000] [--rounds 3] [--json FILE] [--dsn URL]

The bare loop is what anybody would write first on the same driver under trio: claim 100 rows with SKIP
LOCKED, mark them done, repeat. It has no leases to extend, no fences, no retries and no handlers. Every
figure is the median over the rounds; in each round all contestants work a fresh table of the same shape, in
processes of their own, one after the other. Ratios are to the bare loop with as many processes.

Without `--dsn` a PostgreSQL of its own is started, with fsync and everything else as a server has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import msgspec
import trio
from rig import durable_postgres

from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.db.migrations import apply
from wharfd.declare import WorkQueue
from wharfd.work import WorkEngine

TABLE = sql(
    "bench.table",
    """CREATE TABLE wharfd.bench (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text NOT NULL, payload text NOT NULL,
  state text NOT NULL DEFAULT 'ready', priority smallint NOT NULL DEFAULT 100,
  due_at timestamptz NOT NULL DEFAULT now(), attempts integer NOT NULL DEFAULT 0, claim bigint,
  lease_until timestamptz, last_error text, history jsonb, finished_at timestamptz
) WITH (fillfactor = 85);
CREATE INDEX bench_ready ON wharfd.bench (priority, due_at) WHERE state = 'ready';
CREATE INDEX bench_running ON wharfd.bench (id) WHERE state = 'running';
CREATE INDEX bench_parked ON wharfd.bench (state, finished_at) WHERE state IN ('buried', 'held')""",
)
FILL = sql(
    "bench.fill",
    """INSERT INTO wharfd.bench (owner, payload)
SELECT 'owner_' || i % 100, repeat('x', 200) FROM generate_series(1, $1::int) i""",
)
EMPTY = sql("bench.empty", "TRUNCATE wharfd.bench")
TIDY = sql("bench.tidy", "VACUUM ANALYZE wharfd.bench")
OPEN = sql("bench.open", "SELECT EXISTS (SELECT FROM wharfd.bench WHERE state IN ('ready', 'running'))")
SERVER = sql("bench.server", "SELECT version() AS version, current_setting('fsync') AS fsync")

BARE_CLAIM = """UPDATE wharfd.bench w SET state = 'running', attempts = attempts + 1
FROM (SELECT id FROM wharfd.bench WHERE state = 'ready' AND due_at <= now()
      ORDER BY priority, due_at LIMIT 100 FOR UPDATE SKIP LOCKED) picked
WHERE w.id = picked.id RETURNING w.id, w.owner, w.payload"""
BARE_DONE = "UPDATE wharfd.bench SET state = 'done', finished_at = now() WHERE id = ANY ($1::bigint[])"

CONTESTANTS = ("bare", "batch", "single")


class Row(msgspec.Struct):
    id: int
    owner: str
    payload: str


# -- contestants, each in a process of its own -----------------------------------------------------------


def started():
    """Say that everything is prepared and wait for the word to go."""
    print("ready", flush=True)
    sys.stdin.readline()


async def bare(url):
    async with open_bridge() as bridge:
        connection = await bridge.run(asyncpg.connect, url)
        await bridge.drive(connection.fetch("SELECT 1"))
        started()
        while True:
            rows = await bridge.drive(connection.fetch(BARE_CLAIM))
            if not rows:
                break
            await bridge.drive(connection.execute(BARE_DONE, [row["id"] for row in rows]))
        await bridge.run(connection.close)


async def engine(url, kind):
    async def one(ctx, job):
        pass

    async def many(ctx, batch):
        pass

    shape = {"handler": many, "batch": 100} if kind == "batch" else {"handler": one, "concurrency": 16}
    queue = WorkQueue(name="bench", table="wharfd.bench", row=Row, **shape)
    async with open_bridge() as bridge, open_database(bridge, DatabaseSettings(url=url)) as database:
        engine = WorkEngine(database, node=f"bench{os.getpid()}")
        prepared = await engine.prepare("bench", queue)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            started()
            nursery.start_soon(lambda: engine.run_queues([prepared], None, stop=stop))
            await trio.to_thread.run_sync(sys.stdin.readline)
            stop.set()
            nursery.cancel_scope.cancel()


# -- the referee -------------------------------------------------------------------------------------------


@asynccontextmanager
async def processes(kind, count, url):
    """Contestants that wait for the word."""
    opened = [
        await trio.lowlevel.open_process(
            [sys.executable, __file__, "--contestant", kind, "--dsn", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    try:
        for process in opened:
            assert (await process.stdout.receive_some(100)).startswith(b"ready"), f"{kind} did not start"
        yield opened
    finally:
        for process in opened:
            process.kill()
            await process.wait()


async def measure(database, kind, count, rows, url):
    """Return rows per second of one contestant in `count` processes."""
    await database.owner.execute(EMPTY)
    await database.execute(FILL, rows, timeout=120)
    await database.owner.execute(TIDY)
    async with processes(kind, count, url) as opened:
        began = time.perf_counter()
        for process in opened:
            await process.stdin.send_all(b"go\n")
        with trio.fail_after(300):
            while await database.fetchval(OPEN):  # noqa: ASYNC110  other processes end it
                await trio.sleep(0.01)
        return rows / (time.perf_counter() - began)


async def compare(url, options):
    """Run all rounds and return the figures."""
    found = {(kind, count): [] for kind in CONTESTANTS for count in (1, 2)}
    async with open_bridge() as bridge, open_database(bridge, DatabaseSettings(url=url)) as database:
        await apply(database, [])
        await database.owner.execute(TABLE)
        server = dict(await database.fetchrow(SERVER))
        for number in range(options.rounds):
            for kind, count in found:
                found[kind, count].append(await measure(database, kind, count, options.rows, url))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
        await database.owner.execute(sql("bench.drop", "DROP TABLE wharfd.bench"))
    figures = []
    for (kind, count), values in found.items():
        median = statistics.median(values)
        against = statistics.median(found["bare", count])
        figures.append(
            {
                "contestant": kind,
                "processes": count,
                "rows_per_second": round(median),
                "lowest": round(min(values)),
                "highest": round(max(values)),
                "ratio_to_bare": round(median / against, 2),
            }
        )
    return {"machine": machine(), "server": server, "rows": options.rows, "figures": figures}


def machine():
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} × {cpu}, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} before"
    )


@contextmanager
def server(dsn):
    """The given server, or one of our own."""
    if dsn:
        yield dsn
        return
    with durable_postgres("bench", autovacuum_naptime="60s") as cluster:
        yield cluster.dsn("bench")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dsn")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant == "bare":
        trio.run(bare, options.dsn)
        return
    if options.contestant:
        trio.run(engine, options.dsn, options.contestant)
        return
    with server(options.dsn) as url:
        result = trio.run(compare, url, options)
    print(result["machine"])
    print(result["server"]["version"], "fsync", result["server"]["fsync"])
    print(f"{options.rows} rows per run, median of {options.rounds} rounds (lowest to highest)\n")
    for figure in result["figures"]:
        print(
            f"{figure['contestant']:8} {figure['processes']} process(es)"
            f"  {figure['rows_per_second']:>7,} rows/s"
            f"  ({figure['lowest']:,} to {figure['highest']:,})  {figure['ratio_to_bare']:.2f} × bare"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
