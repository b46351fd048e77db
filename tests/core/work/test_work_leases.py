"""Leases: kept while a handler works, noticed when lost, taken back when their holder is dead."""

from __future__ import annotations

import trio

from wharfd.db import sql
from wharfd.declare import Retry
from wharfd.errors import LeaseLost

LOCK = sql("test.lock", "UPDATE wharfd.things SET note = 'locked' WHERE id = $1")


async def test_a_handler_may_work_much_longer_than_a_lease(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        await trio.sleep(1.4)

    # Two engines look for expired leases all the while.
    more = {"lease_seconds": 0.5}
    async with kit.work(handle, **more), kit.work(handle, engine=kit.engine("two"), **more):
        assert await kit.settled() == {"done": 1}
    assert (await kit.things.get(key))["attempts"] == 1


async def test_the_lease_is_counted_by_the_clock_of_the_database(kit):
    await kit.things.add()
    held = trio.Event()

    async def handle(ctx, job):
        held.set()
        await trio.sleep_forever()

    async with kit.work(handle, lease_seconds=30, stop_seconds=0):
        await held.wait()
        rows = await kit.things.fetch(
            "SELECT extract(epoch FROM lease_until - now())::float8 FROM wharfd.things"
        )
        assert 25 < rows[0][0] <= 30


async def test_a_handler_whose_row_was_taken_is_cancelled(kit):
    (key,) = await kit.things.add()
    held = trio.Event()
    ended = trio.Event()

    async def handle(ctx, job):
        held.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with kit.work(handle, lease_seconds=0.6) as runner:
        await held.wait()
        await kit.things.set("claim = 7, lease_until = now() + interval '1 hour'")
        with trio.fail_after(60):
            await ended.wait()
        assert runner.queue.counters.lost == 1
    row = await kit.things.get(key)
    assert (row["state"], row["claim"], row["attempts"]) == ("running", 7, 1)


async def test_a_row_that_is_being_committed_is_not_mistaken_for_lost(kit):
    await kit.things.add()

    async def handle(ctx, job):
        async with job.commit() as tx:
            await tx.execute(kit.EFFECT, job.row.id, "")
            # Locked by its own transaction over several heartbeats and past its first lease.
            await tx.execute(LOCK, job.row.id)
            await trio.sleep(1.0)

    async with kit.work(handle, lease_seconds=0.6) as runner:
        assert await kit.settled() == {"done": 1}
        assert runner.queue.counters.lost == 0
    assert len(await kit.things.effects()) == 1


async def test_expired_rows_are_offered_again_at_the_start(kit):
    ids = await kit.things.add(3)
    await kit.things.set(
        "state = 'running', attempts = 1, claim = 7, lease_until = now() - interval '1 second'"
    )
    attempts = []

    async def handle(ctx, job):
        attempts.append(job.attempt)

    async with kit.work(handle):
        assert await kit.settled() == {"done": 3}
    assert attempts == [2, 2, 2]
    history = (await kit.things.get(ids[0]))["history"]
    assert [(entry["attempt"], entry["error"]) for entry in history] == [
        (1, "the worker died: its lease ran out")
    ]


async def test_a_row_that_kills_its_workers_is_buried(kit):
    (key,) = await kit.things.add()
    await kit.things.set("state = 'running', attempts = 10, claim = 7, lease_until = now()")

    async def handle(ctx, job):
        raise AssertionError("it must not be tried again")

    async with kit.work(handle):
        assert await kit.settled() == {"buried": 1}
    row = await kit.things.get(key)
    assert row["finished_at"] is not None
    assert kit.buried == [("test.things", str(key), "the worker died: its lease ran out")]


async def test_a_row_whose_workers_died_for_another_reason_is_not_given_up(kit):
    """The tests' queue allows three tries; a death is no failure of the row, which may be a payment."""
    await kit.things.add()
    await kit.things.set("state = 'running', attempts = 9, claim = 7, lease_until = now()")

    async def handle(ctx, job):
        assert job.attempt == 10

    async with kit.work(handle):
        assert await kit.settled() == {"done": 1}
    assert kit.buried == []


async def test_leases_that_run_are_left_alone(kit):
    await kit.things.add()
    await kit.things.set("state = 'running', claim = 7, lease_until = now() + interval '1 minute'")
    engine = kit.engine()

    async def handle(ctx, job):
        raise AssertionError("it belongs to somebody else")

    queue = await engine.prepare("test", kit.queue(handle))
    runner = engine.runner(queue, None)
    assert await runner._recovery.recover() == 0
    assert await kit.things.states() == {"running": 1}


async def test_many_expired_rows_are_recovered_in_groups(kit):
    await kit.things.add(2500)
    await kit.things.set("state = 'running', attempts = 1, claim = 7, lease_until = now()")

    async def handle(ctx, batch):
        pass

    async with kit.work(handle, batch=500, lease_seconds=0.5):
        assert await kit.settled() == {"done": 2500}


async def test_a_row_that_returns_to_the_same_daemon_is_fenced_from_its_first_job(kit):
    (key,) = await kit.things.add()
    held = trio.Event()
    ends = []

    async def handle(ctx, job):
        if job.attempt == 1:
            held.set()
            # Deaf to cancellation, as a handler stuck in a thread would be.
            with trio.CancelScope(shield=True):
                await second.wait()
            try:
                async with job.commit() as tx:
                    await tx.execute(kit.EFFECT, job.row.id, "first")
            except LeaseLost:
                ends.append("lost")
                raise
        else:
            async with job.commit() as tx:
                await tx.execute(kit.EFFECT, job.row.id, "second")
            second.set()

    second = trio.Event()
    async with kit.work(handle, retry=Retry(attempts=5)) as runner:
        await held.wait()
        await kit.things.set("state = 'ready', claim = NULL, lease_until = NULL")
        runner._bell.ring()
        assert await kit.settled() == {"done": 1}

        async def first_ended():
            return ends == ["lost"]

        await kit.wait_for(first_ended)
    assert await kit.things.fetch("SELECT by FROM wharfd.effects") == [("second",)]
    assert (await kit.things.get(key))["attempts"] == 2
