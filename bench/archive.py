"""How many rows per second retention archives, verifies, copies to a second place and takes out.

    python bench/archive.py [--rows 300000] [--rounds 2]

A month of metric points goes by the steps of the state machine, each timed by itself; then as many rows of a
table without months go in lots of 50,000, deleted 1,000 at a time, without the pause between (`pause_ms`).
Beside it, what a hand-written script would do for the month: one COPY of the rows as JSON to a file on the
server, zstd of the same level over it, DROP TABLE; nothing read back, nothing copied, nothing remembered.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio
import zstandard
from rig import durable_postgres

from wharfd import Folder, Packing, new_id
from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.db.migrations import apply
from wharfd.db.partitions import ensure_range, partition_name
from wharfd.declare import Migrations
from wharfd_retention import store, tables
from wharfd_retention.archiving import Archive
from wharfd_retention.machine import Machine, advance
from wharfd_retention.model import Policy
from wharfd_retention.store import Unit

LEVEL = 6
MONTH = datetime(2025, 1, 1, tzinfo=UTC)
MAKE = """CREATE SCHEMA bench AUTHORIZATION wharfd_owner;
SET ROLE wharfd_owner;
CREATE TABLE bench.points (id bigint NOT NULL, series_id integer NOT NULL, at timestamptz NOT NULL,
  value float8, metadata jsonb, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE bench.notes (id bigint PRIMARY KEY, series_id integer NOT NULL, at timestamptz NOT NULL,
  value float8, metadata jsonb);
CREATE INDEX ON bench.notes (at);"""
FILL = """INSERT INTO {} SELECT n, n % 100, '2025-01-01 00:00:00+00'::timestamptz + n * interval '1 second',
  random() * 100, jsonb_build_object('host', 'h' || n % 7) FROM generate_series(1, {}) n"""


def policy(name: str, *, partitioned: bool) -> Policy:
    """The rule over one of the two tables."""
    return Policy(
        name=f"bench.{name}", table=f"bench.{name}", column="at", keep=timedelta(days=30), key=("at", "id"),
        where="true", partitioned=partitioned, archive=True,
    )  # fmt: skip


async def add(db, rule: Policy, part: str | None) -> Unit:
    """Plan a unit."""
    unit = Unit(
        id=new_id("arc"), rule=rule.name, source=rule.table, part=part, archive=True, state="planned",
        cutoff=MONTH + timedelta(days=60), rows=0, deleted=0, first_at=None, last_at=None, manifest=None,
        planned_at=MONTH, detached_at=None, dropped_at=None, error=None,
    )  # fmt: skip
    await db.execute(store.ADD, unit.id, unit.rule, unit.source, part, unit.archive, unit.cutoff, unit.rows)
    return unit


async def month(db, machine: Machine, rows: int, steps: dict[str, list[float]]) -> float:
    """Take a month out; return the seconds of all of it."""
    await ensure_range(db, "bench.points", MONTH, MONTH)
    await db.execute(sql("fill", FILL.format("bench.points", rows)), timeout=600)
    await db.execute(sql("analyze", "ANALYZE bench.points"))
    rule = policy("points", partitioned=True)
    unit = await add(db, rule, partition_name("bench.points", MONTH.date()))
    started = last = time.perf_counter()

    def hear(step: str) -> None:
        nonlocal last
        if step.startswith("after_"):
            now = time.perf_counter()
            steps.setdefault(step, []).append(now - last)
            last = now

    object.__setattr__(machine, "hear", hear)
    done = await advance(machine, unit, rule, await tables.shape(db, rule.table))
    object.__setattr__(machine, "hear", lambda step: None)
    assert (done.state, done.rows) == ("dropped", rows), done
    return time.perf_counter() - started


async def lots(db, machine: Machine, rows: int) -> float:
    """Archive and delete the rows of a table lot by lot; return the seconds."""
    await db.execute(sql("fill", FILL.format("bench.notes", rows)), timeout=600)
    await db.execute(sql("analyze", "ANALYZE bench.notes"))
    rule, gone = policy("notes", partitioned=False), 0
    started = time.perf_counter()
    while gone < rows:
        unit = await add(db, rule, None)
        gone += (await advance(machine, unit, rule, await tables.shape(db, rule.table))).deleted
    assert gone == rows
    return time.perf_counter() - started


async def by_hand(cluster, db, folder: Path, rows: int) -> float:
    """What a script does: COPY, zstd, DROP."""
    await ensure_range(db, "bench.points", MONTH, MONTH)
    await db.execute(sql("fill", FILL.format("bench.points", rows)), timeout=600)
    part, target = partition_name("bench.points", MONTH.date()), folder / "by_hand.jsonl"
    started = time.perf_counter()
    copy = f"COPY (SELECT row_to_json(t) FROM {part} t ORDER BY at, id) TO STDOUT"
    psql = [str(cluster.bin / "psql"), "-XqAt", "-h", str(cluster.folder), "-U", "postgres", "bench"]
    with target.open("wb") as file:
        await trio.run_process([*psql, "-c", copy], stdout=file)
    with target.open("rb") as plain, (folder / "by_hand.zst").open("wb") as packed:
        zstandard.ZstdCompressor(level=LEVEL).copy_stream(plain, packed)
    await db.execute(sql("drop", f"DROP TABLE {part}"))
    return time.perf_counter() - started


async def measure(arguments, cluster, settings: DatabaseSettings, folder: Path) -> None:
    """Run the rounds and print."""
    async with open_bridge() as bridge, open_database(bridge, settings) as database:
        retention = Migrations("wharfd_retention")
        await apply(database, [("retention", retention)], allow_holes=True)
        db = database.owner

        async def sign(data: bytes) -> bytes:
            return b"signed"

        async def certify(*given: object) -> None:
            return None

        archive = Archive(Folder(folder / "first"), Folder(folder / "second"), Packing(level=LEVEL), None)
        machine = Machine(
            db=db, archive=archive, sign=sign, certify=certify, grace=timedelta(0), unit_rows=50_000,
            batch_rows=1000, pause_seconds=0,
        )  # fmt: skip
        steps: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            seconds.setdefault("by hand", []).append(await by_hand(cluster, db, folder, arguments.rows))
            seconds.setdefault("a month", []).append(await month(db, machine, arguments.rows, steps))
            seconds.setdefault("in lots", []).append(await lots(db, machine, arguments.rows))
    found = next((folder / "first").rglob("*.jsonl.zst")).stat().st_size
    print(f"{platform.platform()}, Python {platform.python_version()}, {arguments.rows:,} rows, zstd {LEVEL}")
    print(f"medians of {arguments.rounds} rounds; the archive of the month: {found / 1e6:.1f} MB")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        low, high = arguments.rows / max(taken), arguments.rows / min(taken)
        print(f"{name:8} {arguments.rows / median:>9,.0f} rows/s ({low:,.0f} to {high:,.0f}) {median:6.2f} s")
    for name, taken in steps.items():
        print(f"  month, {name.removeprefix('after_'):10} {statistics.median(taken):6.2f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with durable_postgres("bench") as cluster, tempfile.TemporaryDirectory() as folder:
        cluster.psql("bench", MAKE)
        settings = DatabaseSettings(url=cluster.dsn("bench", "wharfd_app"), owner_url=cluster.dsn("bench"))
        trio.run(measure, arguments, cluster, settings, Path(folder))


if __name__ == "__main__":
    main()
