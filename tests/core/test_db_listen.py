"""LISTEN survives the loss of its connection and says when something may have been missed."""

from __future__ import annotations

import pytest
import trio

from wharfd.db import sql

NOTIFY = sql("notify", "SELECT pg_notify($1, $2)")
KILL_LISTENERS = sql(
    "kill_listeners",
    """SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE '% listen'""",
)


async def test_hears_only_its_channels_in_order(db):
    with trio.fail_after(60):
        async with db.listen("wake", "news") as notices:
            await db.fetchval(NOTIFY, "other", "no")
            async with db.transaction() as tx:
                await tx.fetchval(NOTIFY, "wake", "1")
                await tx.fetchval(NOTIFY, "news", "2")
            assert [await notices.receive(), await notices.receive()] == [("wake", "1"), ("news", "2")]


async def test_reconnects_and_says_that_something_may_be_missing(db):
    with trio.fail_after(60):
        async with db.listen("wake") as notices:
            for number in range(3):
                assert await db.fetchval(KILL_LISTENERS) == 1
                assert await notices.receive() == ("", "")
                await db.fetchval(NOTIFY, "wake", str(number))
                assert await notices.receive() == ("wake", str(number))


async def test_a_slow_reader_is_told_that_it_missed_some(db):
    many = sql("many", "SELECT count(pg_notify('wake', n::text)) FROM generate_series(1, 3000) n")
    with trio.fail_after(60):
        async with db.listen("wake") as notices:
            await db.fetchval(many)
            while not notices.statistics().tasks_waiting_send:  # the buffer is full, the rest is lost
                await trio.lowlevel.checkpoint()
            heard = 0
            while await notices.receive() != ("", ""):
                heard += 1
            assert 1024 <= heard < 3000


async def test_ends_with_its_block_and_leaves_no_connection(db):
    count = sql("count", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '% listen'")
    async with db.listen("wake"):
        assert await db.fetchval(count) == 1
    with trio.fail_after(60):
        while await db.fetchval(count):
            await trio.lowlevel.checkpoint()


async def test_channel_names_are_checked(db):
    with pytest.raises(ValueError, match="not a lowercase identifier"):
        async with db.listen('a"; DROP'):
            pytest.fail("listening")
