"""The pool's own upkeep: a smallest size, idle and old connections let go, codecs, the read database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio

from wharfd.db import open_database, sql
from wharfd.errors import DatabaseUnavailable

ONE = sql("one", "SELECT 1")


async def until(condition):
    with trio.fail_after(60):
        while not condition():
            await trio.lowlevel.checkpoint()


def pool_of(db):
    return db.statistics().pools[0]


async def test_the_smallest_size_is_kept_open(bridge, database_settings):
    async with open_database(bridge, replace(database_settings, pool_min_size=3)) as db:
        await until(lambda: pool_of(db).open == 3)
        assert await db.fetchval(ONE) == 1
        assert pool_of(db).open == 3


async def test_old_connections_are_replaced_when_given_back(bridge, database_settings):
    settings = replace(database_settings, lifetime_seconds=0.000001, pool_min_size=0)
    async with open_database(bridge, settings) as db:
        for _ in range(3):
            assert await db.fetchval(ONE) == 1
        await until(lambda: pool_of(db).open == 0)
        assert pool_of(db).opened >= 4
        assert pool_of(db).lost == 0


async def test_a_pool_of_one_serves_everybody(bridge, database_settings):
    async with open_database(bridge, replace(database_settings, pool_size=1)) as db:
        done = []

        async def ask():
            async with db.transaction() as tx:
                done.append(await tx.fetchval(ONE))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert done == [1] * 50
        assert pool_of(db).open == 1
        assert pool_of(db).waited == 49
        assert pool_of(db).longest_wait_seconds > 0


async def test_times_come_back_in_utc(db):
    east = datetime(2026, 11, 21, 3, tzinfo=timezone(timedelta(hours=14)))
    back = await db.fetchval(sql("echo", "SELECT $1::timestamptz"), east)
    assert back == east
    assert back.tzinfo is UTC


async def test_read_and_owner_are_the_database_itself_unless_configured(bridge, database_settings):
    async with open_database(bridge, replace(database_settings, owner_url=None)) as db:
        assert db.read is db
        assert db.owner is db
        assert db.named("x").owner.read is not db
    async with open_database(bridge, replace(database_settings, read_url=database_settings.url)) as db:
        # No standby among the hosts: reading falls back to the primary.
        assert await db.read.fetchval(sql("name", "SELECT current_setting('application_name')")) == (
            "wharfd-test read"
        )
        assert [p.purpose for p in db.statistics().pools] == ["app", "read", "owner", "urgent"]


async def test_idle_connections_are_let_go_down_to_the_smallest_size(bridge, database_settings, monkeypatch):
    monkeypatch.setattr("wharfd.db.pool._TEND_SECONDS", 0.01)
    settings = replace(database_settings, idle_seconds=0.05, pool_min_size=1, pool_size=4)
    async with open_database(bridge, settings) as db:
        async with db.transaction(), db.transaction(), db.transaction():
            assert pool_of(db).open == 3
        await until(lambda: pool_of(db).open == 1)
        assert await db.fetchval(ONE) == 1


async def test_a_server_without_room_is_unavailable_but_keeps_its_connection(db):
    full = sql("full", "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$")
    with pytest.raises(DatabaseUnavailable, match="cannot do statement full now: no space left"):
        await db.execute(full)
    assert pool_of(db).lost == 0
    assert pool_of(db).opened == 1


async def test_nothing_is_sent_for_a_caller_that_is_already_cancelled(db):
    await db.owner.execute(sql("make", "CREATE TABLE wharfd.t (id int)"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await db.execute(sql("insert", "INSERT INTO wharfd.t VALUES (1)"))
    assert await db.fetchval(sql("count", "SELECT count(*) FROM wharfd.t")) == 0


async def test_an_error_of_the_callers_records_is_the_callers(db):
    await db.owner.execute(sql("make", "CREATE TABLE wharfd.t (id int)"))

    def records():
        yield (1,)
        raise FileNotFoundError("the file to import")

    with pytest.raises(FileNotFoundError, match="to import"):
        await db.copy_in("wharfd.t", ["id"], records())
    assert await db.fetchval(sql("count", "SELECT count(*) FROM wharfd.t")) == 0
    assert pool_of(db).lost == 0
