"""How many points per second the metrics plugin takes in, and how long it answers over many of them.

    python bench/metrics_points.py [--points 200000] [--history 1000000,10000000] [--json FILE]

Writing, in batches of 1,000 from `--writers` tasks, beside two contestants on the same driver and table: a
bare COPY (the limit: no check, no series, no roll-up) and one INSERT of 1,000 rows from arrays. Ours is the
plugin's own path from decoded points to the commit (`record`), the same from JSON (`decode+record`), and then
`POST /metrics/batch` of a whole daemon in a process of its own.

Reading: points of 100 series, one every ten seconds each, are put in by the server itself, and their roll-ups
computed by it; then the median of 20 questions each about one series, the answer's size beside it.
`--history 100000000` needs 15 GB and some minutes.

A PostgreSQL of its own is started, with fsync as a server has it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import trio
from rig import Daemon, durable_postgres

from wharfd.cache import Cache
from wharfd.clock import Clock
from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.db.migrations import apply
from wharfd.db.partitions import ensure_range
from wharfd.declare import Migrations
from wharfd.metrics import Metrics
from wharfd_metrics import reading, recording, register_metrics, rollup, store
from wharfd_metrics.checking import Point, decode_points
from wharfd_metrics.config import Settings
from wharfd_metrics.series import Book
from wharfd_metrics.sketch import Summary

BATCH = 1000
INSERT = sql(
    "bench.insert",
    """INSERT INTO metrics.points (id, series_id, at, value)
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::float8[])""",
)
EMPTY = sql("bench.empty", "TRUNCATE metrics.points, metrics.deltas, metrics.hours, metrics.days")
FILL = sql(
    "bench.fill",
    """INSERT INTO metrics.points (id, series_id, at, value)
    SELECT n, n % 100 + 1, $1::timestamptz - (n / 100) * interval '10 seconds', random() * 100
    FROM generate_series($2::bigint, $3::bigint) n""",
)
FILL_ROLLUPS = """INSERT INTO metrics.{table} (series_id, bucket, count, sum, min, max, sketch)
    SELECT series_id, date_trunc('{unit}', at, 'UTC'), count(*), sum(value), min(value), max(value), $1
    FROM metrics.points GROUP BY 1, 2"""
UNINDEX = sql("bench.unindex", "DROP INDEX metrics.points_by_series")
INDEX = sql("bench.index", "CREATE INDEX points_by_series ON metrics.points (series_id, at)")
ANALYZE = sql("bench.analyze", "ANALYZE metrics.points, metrics.hours, metrics.days")


def batch_of(number: int, at: datetime) -> list[Point]:
    """A batch as an agent sends it: 50 series, one second."""
    return [
        Point("api", f"metric_{n % 10}", float((number * 31 + n * 17) % 997), unit="ms",
              labels={"host": f"h{n // 10 % 5}"}, timestamp=at)
        for n in range(BATCH)
    ]  # fmt: skip


async def timed(writers: int, total: int, write) -> float:
    """Points per second of `writers` tasks that share `total` points."""
    batches = iter(range(total // BATCH))

    async def work() -> None:
        for number in batches:
            await write(number)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(writers):
            nursery.start_soon(work)
    return total // BATCH * BATCH / (time.perf_counter() - started)


async def writing(db, ctx, arguments) -> dict[str, float]:
    """Measure every way in; the median over the rounds."""
    at = datetime.now(UTC)
    rows = [(n, n % 50 + 1, at, float(n % 997), None) for n in range(BATCH)]
    columns = [list(column) for column in zip(*rows, strict=True)][:4]
    points = batch_of(1, at)
    raw = msgspec.json.encode(points)

    async def copy(number: int) -> None:
        await db.copy_in("metrics.points", store.POINT_COLUMNS, rows)

    async def insert(number: int) -> None:
        await db.execute(INSERT, *columns)

    async def record(number: int) -> None:
        await recording.record(ctx, None, dict(enumerate(points)))

    async def decode_and_record(number: int) -> None:
        decoded, _ = decode_points(raw)
        await recording.record(ctx, None, decoded)

    ways = {
        "bare COPY": copy,
        "INSERT from arrays": insert,
        "record": record,
        "decode+record": decode_and_record,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    await record(0)
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            await db.owner.execute(EMPTY)
            found[name].append(await timed(arguments.writers, arguments.points, way))
    await db.owner.execute(EMPTY)
    await timed(arguments.writers, arguments.points, record)
    started = time.perf_counter()
    merged = await rollup.roll_up(ctx)
    found["roll-up, deltas"] = [merged / (time.perf_counter() - started)]
    return {name: statistics.median(rates) for name, rates in found.items()}


async def fill(db, history: int, first: datetime, now: datetime) -> None:
    """Put so many points and their roll-ups there, as the plugin would have left them."""
    await db.owner.execute(EMPTY)
    for table in ("metrics.points", "metrics.hours"):
        await ensure_range(db.owner, table, first - timedelta(days=1), now)
    await db.owner.execute(UNINDEX)
    for start in range(0, history, 1_000_000):
        await db.owner.execute(FILL, now, start, min(start + 1_000_000, history) - 1, timeout=600)
    await db.owner.execute(INDEX, timeout=1200)
    sketch = Summary.of(float(n) for n in range(100)).sketch()
    for table, unit in (("hours", "hour"), ("days", "day")):
        rollups = sql(f"bench.fill_{table}", FILL_ROLLUPS.format(table=table, unit=unit))
        await db.owner.execute(rollups, sketch, timeout=1200)
    await db.owner.execute(ANALYZE, timeout=600)


async def asking(db, ctx, history: int) -> dict[str, str]:
    """Median milliseconds of each question over so many points."""
    now = datetime.now(UTC).replace(microsecond=0)
    first = now - timedelta(seconds=history / 10)
    started = time.perf_counter()
    await fill(db, history, first, now)
    found = {"filled in, s": f"{time.perf_counter() - started:.0f}"}
    series = [{"id": 7, "service_name": "api", "metric_type": "m", "unit": "", "labels": {}}]
    hour = now.replace(minute=0, second=0)
    ragged = now - timedelta(hours=8, minutes=7)
    questions = {
        "newest 1,000 points": lambda: reading.points(ctx, series, first, now, 1000, 0),
        "1,000 points of a day ago": lambda: reading.points(
            ctx, series, first, now - timedelta(days=1), 1000, 0
        ),
        "8 ragged hours by hour": lambda: reading.aggregate(ctx, [7], ragged, now, "hour"),
        "a day by hour": lambda: reading.aggregate(ctx, [7], hour - timedelta(days=1), hour, "hour"),
        "a day by hour, 100 series": lambda: reading.aggregate(
            ctx, list(range(1, 101)), hour - timedelta(days=1), hour, "hour"
        ),
        "all by day": lambda: reading.aggregate(ctx, [7], first, now, "day"),
    }  # fmt: skip
    for name, ask in questions.items():
        rows = len(await ask())
        times = []
        for _ in range(20):
            started = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - started)
        found[name] = f"{1000 * statistics.median(times):.1f} ({rows} rows)"
    return found


def context(db, settings: Settings):
    """As much of a plugin's context as these functions use."""
    metrics = Metrics(process=False).for_plugin("metrics", register_metrics(settings))
    return SimpleNamespace(
        name="metrics", settings=settings, db=db, now=Clock().now, metrics=metrics,
        state={"book": Book(settings.max_series, settings.max_series_per_metric)},
        cache=Cache(None, namespace="bench"), services=SimpleNamespace(find=lambda key: None),
    )  # fmt: skip


async def measure(arguments, settings: DatabaseSettings) -> dict[str, object]:
    """Run everything on one database."""
    async with open_bridge() as bridge, open_database(bridge, settings) as db:
        migrations = Migrations("wharfd_metrics", partitioned=("metrics.points", "metrics.hours"))
        await apply(db, [("metrics", migrations)], allow_holes=True)
        ctx = context(db, Settings())
        await rollup.make_months(ctx)
        result: dict[str, object] = {"points_per_second": await writing(db, ctx, arguments)}
        result["milliseconds"] = {
            str(history): await asking(db, ctx, history)
            for history in map(int, arguments.history.split(","))
            if history
        }
        return result


def over_http(cluster, folder: Path, arguments) -> dict[str, float]:
    """Points per second that a whole daemon takes from clients on this machine, which share its cores."""
    daemon = Daemon(folder, "[plugins.metrics]\npublish = false\n", cluster)
    found: dict[str, list[float]] = {}
    try:
        for _ in range(arguments.rounds):
            for answer in ("minimal", "representation"):
                rate = send_over_http(daemon, answer, arguments.points, arguments.writers)
                found.setdefault(answer, []).append(rate)
    finally:
        daemon.stop()
    return {answer: statistics.median(rates) for answer, rates in found.items()}


def send_over_http(daemon: Daemon, answer: str, points: int, writers: int) -> float:
    """Points per second of some connections that send the same batch again and again."""
    body = msgspec.json.encode(batch_of(1, datetime.now(UTC)))
    headers = {"Authorization": f"Bearer {daemon.token}", "Content-Type": "application/json"}
    path = f"/api/v1/monitoring/metrics/batch?return={answer}"

    def work(batches: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
        for _ in range(batches):
            client.request("POST", path, body, headers)
            reply = client.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise SystemExit(f"{reply.status}: {text[:300]!r}")

    each = points // BATCH // writers
    started = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(work, [each] * writers))
    return each * writers * BATCH / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", default="1000000,10000000")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with durable_postgres("bench", "served") as cluster, tempfile.TemporaryDirectory() as folder:
        settings = DatabaseSettings(url=cluster.dsn("bench", "wharfd_app"), owner_url=cluster.dsn("bench"))
        result = trio.run(measure, arguments, settings)
        result["over_http"] = over_http(cluster, Path(folder), arguments)
    result["machine"] = {"python": platform.python_version(), "system": platform.platform()}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
