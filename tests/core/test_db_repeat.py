"""Units repeated after conflicts, and not repeated after anything else."""

from __future__ import annotations

import asyncpg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.db import sql
from wharfd.db.retrying import pause_seconds
from wharfd.errors import DatabaseUnavailable

READ = sql("read", "SELECT n FROM wharfd.counters WHERE id = $1")
WRITE = sql("write", "UPDATE wharfd.counters SET n = $2 WHERE id = $1")
PID = sql("pid", "SELECT pg_backend_pid()")
KILL = sql("kill", "SELECT pg_terminate_backend($1, 2000)")


@pytest.fixture
async def counters(db):
    await db.owner.execute(
        sql(
            "make",
            """CREATE TABLE wharfd.counters (id int PRIMARY KEY, n int NOT NULL);
               INSERT INTO wharfd.counters VALUES (1, 0), (2, 0)""",
        )
    )
    return db


async def test_serialization_failures_are_repeated_until_all_count(counters):
    runs = 0

    async def increment(tx):
        nonlocal runs
        runs += 1
        n = await tx.fetchval(READ, 1)
        await tx.execute(WRITE, 1, n + 1)
        return n

    async with trio.open_nursery() as nursery:
        for _ in range(5):

            async def unit():
                await counters.repeat(increment, attempts=50, isolation="serializable")

            nursery.start_soon(unit)
    assert await counters.fetchval(READ, 1) == 5
    assert runs > 5


async def test_a_deadlock_is_repeated(counters):
    """Two units lock the same rows in opposite order; PostgreSQL fails one, repeating saves it."""
    holding = {1: trio.Event(), 2: trio.Event()}
    runs = []

    async def swap(mine, other):
        async def unit(tx):
            runs.append(mine)
            await tx.execute(WRITE, mine, mine)
            holding[mine].set()
            await holding[other].wait()
            await tx.execute(WRITE, other, mine)

        await counters.repeat(unit)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swap, 1, 2)
            nursery.start_soon(swap, 2, 1)
    assert len(runs) == 3


async def test_a_lost_connection_is_repeated(counters):
    runs = []

    async def unit(tx):
        runs.append(await tx.fetchval(PID))
        await tx.execute(WRITE, 1, len(runs))
        if len(runs) == 1:
            async with counters.session() as other:
                await other.fetchval(KILL, runs[0])
        await tx.execute(WRITE, 2, len(runs))
        return "done"

    assert await counters.repeat(unit) == "done"
    assert len(runs) == 2
    assert await counters.fetchval(READ, 1) == 2


async def test_other_errors_are_not_repeated(counters):
    runs = []

    async def unit(tx):
        runs.append(1)
        await tx.execute(sql("insert", "INSERT INTO wharfd.counters VALUES (1, 1)"))

    with pytest.raises(asyncpg.UniqueViolationError):
        await counters.repeat(unit)
    assert len(runs) == 1


async def test_attempts_are_bounded(counters):
    runs = []

    async def unit(tx):
        runs.append(1)
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable, match="away"):
        await counters.repeat(unit, attempts=3)
    assert len(runs) == 3
    with pytest.raises(ValueError, match="attempts"):
        await counters.repeat(unit, attempts=0)


@given(st.integers(min_value=1, max_value=10_000))
def test_pauses_grow_but_stay_bounded(attempt):
    pause = pause_seconds(attempt)
    assert 0 < pause <= min(2.0, 0.02 * 2 ** min(attempt, 20))
