"""Roll-ups: exact against the points, under concurrency, sealed when final; plans; the archive."""

import random
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
import trio

from wharfd import Provides, hookimpl, sql
from wharfd.contracts.archives import COLD
from wharfd_metrics import reading, rollup, store
from wharfd_metrics.checking import Point
from wharfd_metrics.planning import DAY, HOUR, floor
from wharfd_metrics.recording import record
from wharfd_metrics.series import CHOOSE
from wharfd_metrics.sketch import Summary

from .conftest import BASE, iso, now_of, point

DELTAS = sql("test.deltas", "SELECT count(*) FROM metrics.deltas")
SEALED = sql(
    "test.sealed", "SELECT count(*) FILTER (WHERE sealed_at IS NOT NULL), count(*) FROM metrics.hours"
)
SERIES = sql("test.series", "SELECT id FROM metrics.series")
BULK = sql(
    "test.bulk",
    """INSERT INTO metrics.points (id, series_id, at, value)
    SELECT n, n % 50 + 1, now() - n * interval '3 seconds', n FROM generate_series(1, 100000) n""",
)
BULK_HOURS = sql(
    "test.bulk_hours",
    """INSERT INTO metrics.hours (series_id, bucket, count, sum, min, max, sketch)
    SELECT s, date_trunc('hour', now()) - n * interval '1 hour', 1, 1, 1, 1, '\\x930000'
    FROM generate_series(1, 200) s, generate_series(0, 100) n""",
)
BULK_SERIES = sql(
    "test.bulk_series",
    """INSERT INTO metrics.series (owner, service_name, metric_type, labels, unit)
    SELECT 'o' || n % 100, 's' || n % 50, 'm' || n, '{}', '' FROM generate_series(1, 20000) n""",
)
ANALYZE = sql("test.analyze", "ANALYZE metrics.points, metrics.hours, metrics.series")


async def test_rollups_equal_the_points_under_concurrency(metrics):
    """Writers and two mergers at once; then every hour and day equals a recount of the points."""
    async with metrics() as d:
        ctx = d.context("metrics")
        base = now_of(d)
        dice = random.Random(8)
        sent = []

        async def write():
            for _ in range(8):
                batch = {
                    n: Point(
                        "api",
                        "latency",
                        dice.lognormvariate(0, 2) * dice.choice((1, -1)),
                        unit="ms",
                        labels={"n": str(dice.randrange(3))},
                        timestamp=base - timedelta(minutes=dice.randrange(60 * 40)),
                    )
                    for n in range(50)
                }
                taken, problems = await record(ctx, None, batch)
                assert not problems
                sent.extend(batch[n] for n in taken.positions)

        async def merge():
            for _ in range(6):
                await rollup.roll_up(ctx)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(write)
            for _ in range(2):
                nursery.start_soon(merge)
        assert len(sent) == 1200
        await rollup.roll_up(ctx)
        assert await d.db.fetchval(DELTAS) == 0
        series = [row["id"] for row in await d.db.fetch(SERIES)]
        for interval, step in (("hour", HOUR), ("day", DAY)):
            start, end = floor(base - 2 * DAY, "day"), floor(base + 2 * DAY, "day")
            answer = await reading.aggregate(ctx, series, start, end, interval)
            exact = {}
            for one in sent:
                exact.setdefault(floor(one.timestamp, interval), []).append(one.metric_value)
            assert [bucket["timestamp"] for bucket in answer] == sorted(exact)
            for bucket in answer:
                numbers = sorted(exact[bucket["timestamp"]])
                assert bucket["count"] == len(numbers)
                assert (bucket["min_value"], bucket["max_value"]) == (numbers[0], numbers[-1])
                assert bucket["sum"] == pytest.approx(sum(numbers), rel=1e-9, abs=1e-6)
                true = numbers[int(0.95 * (len(numbers) - 1))]
                assert abs(bucket["p95"] - true) <= 0.01 * abs(true) + 1e-12
            assert step


async def test_a_ragged_range_is_exact(metrics):
    async with metrics() as d:
        ctx = d.context("metrics")
        base = now_of(d)
        times = [base - timedelta(minutes=7 * n) for n in range(400)]
        batch = {n: Point("api", "latency", float(n), unit="ms", timestamp=at) for n, at in enumerate(times)}
        await record(ctx, None, batch)
        await rollup.roll_up(ctx)
        start, end = base - timedelta(hours=40, minutes=11), base - timedelta(minutes=23)
        inside = [at for at in times if start <= at < end]
        series = [row["id"] for row in await d.db.fetch(SERIES)]
        for interval in ("hour", "day"):
            answer = await reading.aggregate(ctx, series, start, end, interval)
            assert sum(bucket["count"] for bucket in answer) == len(inside)


async def test_a_lost_race_counts_nothing_twice(metrics):
    """The transaction of a merge that fails leaves deltas and hours as they were."""
    async with metrics() as d:
        ctx = d.context("metrics")
        await record(ctx, None, {0: Point("api", "latency", 1.0, unit="ms")})
        write = store.write_rollups

        async def broken(tx, table, rollups):
            await write(tx, table, rollups)
            if table == "days":
                raise RuntimeError("the power fails")

        store.write_rollups = broken
        try:
            with pytest.raises(RuntimeError, match="power"):
                await rollup.roll_up(ctx)
        finally:
            store.write_rollups = write
        assert await d.db.fetchval(DELTAS) == 1
        assert await rollup.roll_up(ctx) == 1
        assert await rollup.roll_up(ctx) == 0


async def test_hours_are_sealed_when_nothing_can_change_them(metrics):
    async with metrics('late = "2h"') as d:
        ctx = d.context("metrics")
        await record(ctx, None, {0: Point("api", "latency", 1.0, unit="ms")})
        old = (ctx.now() - timedelta(days=3)).replace(minute=0, second=0, microsecond=0)
        await store_hour(d, old)
        await rollup.seal(ctx)
        assert tuple(await d.db.fetchrow(SEALED)) == (1, 1)
        assert await rollup.find_late_rollups(ctx) == []
        await rollup.roll_up(ctx)
        await rollup.seal(ctx)
        assert tuple(await d.db.fetchrow(SEALED)) == (1, 2), "what can still change stays open"


async def store_hour(d, hour):
    async with d.db.transaction() as tx:
        await store.write_rollups(tx, "hours", {(1, hour): Summary.of([1.0])})


LATE = sql("test.late", "UPDATE metrics.deltas SET added_at = now() - interval '1 hour'")


async def test_rollups_that_are_behind_are_found(metrics):
    async with metrics() as d:
        ctx = d.context("metrics")
        await record(ctx, None, {0: Point("api", "latency", 1.0, unit="ms")})
        await d.db.execute(LATE)
        (finding,) = await rollup.find_late_rollups(ctx)
        assert finding.key == "behind"


async def test_lists_are_served_by_their_indexes(metrics):
    async with metrics() as d:
        await d.db.owner.execute(BULK_SERIES)
        await d.db.execute(BULK)
        await d.db.execute(BULK_HOURS)
        await d.db.owner.execute(ANALYZE)
        now = datetime.now(UTC)
        plan = await d.db.explain(store.POINTS, [1, 2], now - DAY, now, 100, 100, 0)
        assert "points" in plan
        assert "Seq Scan on metrics.points" not in plan
        assert "series_id_at_idx" in plan
        plan = await d.db.explain(store.HOURS, [3, 4], now - DAY, now)
        assert "_pkey" in plan
        assert "Seq Scan" not in plan
        for given, index in (
            (("service", "metric"), "series_by_metric"),
            (("metric",), "series_by_metric"),
            (("owner",), "series_by_owner"),
        ):
            statement = CHOOSE[given]
            values = ["s1" if "service" in given else None, "m51" if "metric" in given else None]
            values += ["o1" if "owner" in given else None, None]
            assert index in await d.db.explain(statement, *values, 501), given


def archive_of(rows):
    """A plugin that offers an archive holding these rows."""
    module = ModuleType("vault")

    class Kept:
        async def rows(self, table, start, end):
            for row in rows:
                if start <= datetime.fromisoformat(row["at"]) < end:
                    yield row

    @hookimpl
    def register_services(settings):
        return [Provides(COLD, lambda ctx: Kept())]

    module.register_services = register_services
    return module


async def test_one_query_spans_the_database_and_the_archive(metrics):
    gone = datetime.now(UTC).replace(microsecond=0) - timedelta(days=40)
    cold = [
        {
            "id": 1000 + n,
            "series_id": 1,
            "at": (gone - timedelta(hours=n)).isoformat(),
            "value": float(-n),
            "metadata": None,
        }
        for n in range(1, 6)
    ]
    cold.append({**cold[0], "id": 1099, "series_id": 77})
    async with metrics(plugins={"vault": archive_of(cold)}) as d:
        for n in range(3):
            await d.post(BASE, point(float(n), timestamp=iso(now_of(d) + timedelta(minutes=n))))
        query = f"{BASE}?service_name=api&metric_type=latency&start_time={iso(gone - timedelta(days=10))}"
        values = [p["metric_value"] for p in (await d.get(query)).json()]
        assert values == [2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0]
        for offset in range(9):
            page = [p["metric_value"] for p in (await d.get(f"{query}&limit=2&offset={offset}")).json()]
            assert page == values[offset : offset + 2]
        (oldest,) = (await d.get(f"{query}&limit=1&offset=7")).json()
        assert oldest["timestamp"].endswith("Z")
        assert oldest["unit"] == "ms"
