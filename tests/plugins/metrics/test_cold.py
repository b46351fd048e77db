"""Points that retention has put into the archive are answered like those in the database."""

from datetime import UTC, datetime, timedelta

import trio

import wharfd_retention
from wharfd import ensure_range, sql

from .conftest import BASE, iso, now_of, point

OLD = sql(
    "old_points",
    """INSERT INTO metrics.points (id, series_id, at, value, metadata)
    SELECT 1000000 + n, 1, $1::timestamptz + n * interval '1 day', -n, jsonb_build_object('n', n)
    FROM generate_series(1, 40) n""",
)
LEFT = sql("old_points_left", "SELECT count(*) FROM metrics.points WHERE id > 1000000")
RETENTION = """
[plugins.retention]
dry_run_first = false
grace = "0s"
max_share = 1.0
"""


async def values(d, query):
    answer = await d.get(query)
    assert answer.status == 200, answer.body
    return [(p["metric_value"], p["timestamp"], p["metric_metadata"]) for p in answer.json()]


async def test_one_endpoint_spans_points_in_the_database_and_in_the_archive(metrics):
    async with metrics(RETENTION, plugins={"retention": wharfd_retention}) as d:
        first = datetime.now(UTC).replace(microsecond=0) - timedelta(days=200)
        await ensure_range(d.db.owner, "metrics.points", first, datetime.now(UTC))
        for n in range(3):
            await d.post(BASE, point(float(n), timestamp=iso(now_of(d) + timedelta(minutes=n))))
        await d.db.owner.execute(OLD, first)
        # Each query has another start, or the cache would answer.
        query = f"{BASE}?service_name=api&metric_type=latency&start_time="
        before = await values(d, query + iso(first))
        assert [value for value, *_ in before] == [2.0, 1.0, 0.0, *(-float(n) for n in range(40, 0, -1))]
        done = (await d.post("/api/v1/monitoring/retention/run")).json()
        assert done["rules"]["metrics.points"]["deleted"] == 40, done["rules"]["metrics.points"]
        assert await d.db.fetchval(LEFT) == 0
        query += iso(first - timedelta(hours=1))
        assert await values(d, query) == before
        pages = [await values(d, f"{query}&limit=5&offset={offset}") for offset in range(0, 45, 5)]
        assert [one for page in pages for one in page] == before
        until = iso(first + timedelta(days=10, minutes=1))
        assert await values(d, f"{query}&end_time={until}") == before[-10:]


async def test_points_stay_until_their_hours_are_made(metrics):
    async with metrics(RETENTION, plugins={"retention": wharfd_retention}) as d:
        await d.post(BASE, point(1.0, timestamp=iso(now_of(d))))
        first = datetime.now(UTC) - timedelta(days=200)
        await ensure_range(d.db.owner, "metrics.points", first, datetime.now(UTC))
        await d.db.owner.execute(OLD, first)
        work = d.running.machinery.engine.work
        await work.pause("metrics.schedules", actor="test")  # nothing merges it meanwhile
        with trio.fail_after(60):
            while (await work.statistics("metrics.schedules")).running:
                await trio.sleep(0.01)
        await d.db.execute(
            sql(
                "an_old_delta",
                """INSERT INTO metrics.deltas (series_id, hour, count, sum, min, max, sketch)
                VALUES (1, date_trunc('hour', now()) - interval '20 days', 1, 1, 1, 1, '')""",
            )
        )
        wanted = (await d.post("/api/v1/monitoring/retention/run", {"dry_run": False})).json()
        assert wanted["rules"]["metrics.points"]["deleted"] == 0
        assert "the month stays" in wanted["rules"]["metrics.points"]["said"][0]
        assert await d.db.fetchval(LEFT) == 40
