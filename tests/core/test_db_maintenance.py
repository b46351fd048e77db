"""Looking at the database and putting it in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio

from wharfd.db import inspection, maintenance, partitions, sql
from wharfd.db.maintenance import TRY_LOCK
from wharfd.errors import MaintenanceBusy


@pytest.fixture
async def tables(db):
    await db.owner.execute(
        sql(
            "make",
            """CREATE TABLE wharfd.big (id int PRIMARY KEY, body text);
               CREATE INDEX big_body ON wharfd.big (body);
               INSERT INTO wharfd.big SELECT n, md5(n::text) FROM generate_series(1, 40000) n;
               CREATE TABLE wharfd.parts (at timestamptz NOT NULL) PARTITION BY RANGE (at)""",
        )
    )
    await partitions.ensure(db.owner, ["wharfd.parts"])
    return db


async def test_figures_of_tables_and_indexes(tables):
    await maintenance.analyze(tables, actor="test")
    figures = {t.name: t for t in await inspection.tables(tables)}
    big = figures["wharfd.big"]
    assert big.total_bytes >= big.table_bytes + big.index_bytes > 0
    assert big.analyzed_at is not None
    assert figures["wharfd.parts"].partitions == 4
    assert not any(name.startswith("wharfd.parts_") for name in figures)
    index = {i.name: i for i in await inspection.indexes(tables.owner)}
    assert index["wharfd.big_pkey"].constraining
    assert not index["wharfd.big_pkey"].unused
    assert index["wharfd.big_body"].unused
    assert index["wharfd.big_body"].table == "wharfd.big"
    fresh = index["wharfd.big_body"]
    assert not fresh.bloated
    assert 0.4 < fresh.bytes / fresh.expected_bytes < 2


async def test_cache_and_health(tables):
    ratios = await inspection.cache_ratios(tables)
    assert ratios.everything is not None
    assert 0 <= ratios.everything <= 1
    health = await inspection.server_health(tables)
    assert health.connections <= health.max_connections
    assert health.bytes > 0
    assert health.invalid_indexes == 0
    assert 0 < health.round_trip_seconds < 5


async def test_a_bloated_index_is_found_and_rebuilt(tables):
    await tables.owner.execute(
        sql("bloat", "INSERT INTO wharfd.big SELECT n, md5(n::text) FROM generate_series(50000, 260000) n")
    )
    await tables.owner.execute(sql("thin", "DELETE FROM wharfd.big WHERE id % 10 <> 0"))
    await maintenance.cleanup(tables, actor="test", dirty_rows=10)
    await maintenance.analyze(tables, actor="test", tables=["wharfd.big"])
    before = {i.name: i for i in await inspection.indexes(tables.owner)}["wharfd.big_body"]
    assert before.bloated
    steps = await maintenance.reindex(tables, actor="me")
    assert ("reindex", "wharfd.big_body", "done") in [(s.action, s.target, s.outcome) for s in steps]
    after = {i.name: i for i in await inspection.indexes(tables.owner)}["wharfd.big_body"]
    assert after.bytes < before.bytes / 2
    assert not after.bloated
    entries = await maintenance.log(tables, limit=100)
    assert ("reindex", "wharfd.big_body", "me") in [(e.action, e.target, e.actor) for e in entries]
    assert entries == sorted(entries, key=lambda e: -e.id)
    assert await maintenance.log(tables, limit=1, before=entries[0].id) == entries[1:2]


async def test_leftovers_of_interrupted_rebuilds_are_dropped(tables):
    """A concurrent rebuild that is cancelled while it waits leaves an invalid `_ccnew` index behind."""
    names = sql("names", "SELECT relname FROM pg_class WHERE relname LIKE 'big_body%' ORDER BY 1")
    async with tables.owner.transaction() as tx:
        await tx.execute(sql("hold", "UPDATE wharfd.big SET body = body WHERE id = 1"))
        async with trio.open_nursery() as nursery:
            rebuild = sql("rebuild", "REINDEX INDEX CONCURRENTLY wharfd.big_body")
            nursery.start_soon(tables.owner.execute, rebuild)
            with trio.fail_after(60):
                while len(await tables.fetch(names)) < 2:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert [row[0] for row in await tables.fetch(names)] == ["big_body", "big_body_ccnew"]
    assert (await inspection.server_health(tables)).invalid_indexes == 1
    steps = await maintenance.cleanup(tables, actor="test", dirty_rows=10**9)
    assert [(s.action, s.target) for s in steps] == [("drop_leftover", "wharfd.big_body_ccnew")]
    assert [row[0] for row in await tables.fetch(names)] == ["big_body"]


async def test_a_failing_step_is_reported_and_logged_and_the_rest_goes_on(tables):
    steps = await maintenance.analyze(tables, actor="test", tables=["wharfd.nowhere", "wharfd.big"])
    assert [s.outcome for s in steps] == ["failed", "done"]
    assert "nowhere" in steps[0].error
    newest = (await maintenance.log(tables))[1]
    assert (newest.target, newest.outcome) == ("wharfd.nowhere", "failed")
    assert "nowhere" in newest.detail["error"]
    with pytest.raises(ValueError, match=r"no index 'wharfd\.nowhere'"):
        await maintenance.reindex(tables, actor="test", names=["wharfd.nowhere"])


async def test_never_two_at_a_time(tables):
    async with tables.owner.session() as other:
        assert await other.fetchval(TRY_LOCK)
        with pytest.raises(MaintenanceBusy):
            await maintenance.analyze(tables, actor="test")


async def test_old_lines_are_forgotten(db):
    await maintenance.record(db, "partitions", "wharfd.x", actor="schedule", seconds=0.1)
    assert await maintenance.forget(db, datetime.now(UTC) - timedelta(days=1)) == 0
    assert await maintenance.forget(db, datetime.now(UTC) + timedelta(days=1)) == 1
