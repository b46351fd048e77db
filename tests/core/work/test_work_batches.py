"""Batches, and outcomes written in the handler's own transaction."""

from __future__ import annotations

import pytest
import trio

from wharfd.errors import LeaseLost
from wharfd.work import Bury, RetryAfter, Snooze


async def test_a_batch_is_no_larger_than_declared_and_done_as_a_whole(kit):
    await kit.things.add(95)
    sizes = []

    async def handle(ctx, batch):
        sizes.append(len(batch))
        assert [job.row.id for job in batch] == [job.row.id for job in batch.jobs]

    async with kit.work(handle, batch=20):
        assert await kit.settled() == {"done": 95}
    assert sum(sizes) == 95
    assert max(sizes) <= 20


async def test_jobs_of_a_batch_end_differently(kit):
    ids = await kit.things.add(4)

    async def handle(ctx, batch):
        for job in batch:
            if job.row.id == ids[1]:
                job.finish(Bury("bad"))
            if job.row.id == ids[2]:
                job.finish(Snooze(3600))

    async def states():
        found = [(await kit.things.get(key))["state"] for key in ids]
        return "running" not in found and found == ["done", "buried", "ready", "done"]

    async with kit.work(handle, batch=10):
        await kit.wait_for(states)


async def test_a_poisonous_row_fails_alone(kit):
    ids = await kit.things.add(64)
    poison = ids[37]
    calls = []

    async def handle(ctx, batch):
        calls.append(len(batch))
        if any(job.row.id == poison for job in batch):
            raise ValueError("poison")

    async with kit.work(handle, batch=64, concurrency=1):
        assert await kit.settled() == {"done": 63, "buried": 1}
    assert (await kit.things.get(poison))["attempts"] == 3
    # Everybody else was done on the first attempt, and found in few calls.
    assert await kit.things.fetch("SELECT max(attempts) FROM wharfd.things WHERE state = 'done'") == [(1,)]
    assert len(calls) <= 1 + 2 * 6 + 2


async def test_an_outcome_raised_by_a_batch_is_that_of_all_and_splits_nothing(kit):
    await kit.things.add(8)
    calls = []

    async def handle(ctx, batch):
        calls.append(len(batch))
        raise RetryAfter(0.01, "all of it")

    async with kit.work(handle, batch=8, concurrency=1):
        assert await kit.settled() == {"buried": 8}
    assert len(calls) <= 3 * 3


async def test_commit_writes_effect_and_outcome_together(kit):
    ids = await kit.things.add(30)

    async def handle(ctx, batch):
        async with batch.commit() as tx:
            for job in batch:
                await tx.execute(kit.EFFECT, job.row.id, "")
                if job.row.id == ids[0]:
                    job.finish(Bury("not this one"))

    async with kit.work(handle, batch=7):
        assert await kit.settled() == {"done": 29, "buried": 1}
    assert await kit.things.effects() == ids


async def test_a_failure_inside_commit_rolls_everything_back(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        async with job.commit() as tx:
            await tx.execute(kit.EFFECT, job.row.id, str(job.attempt))
            if job.attempt < 3:
                raise ValueError("not yet")

    async with kit.work(handle):
        assert await kit.settled() == {"done": 1}
    assert await kit.things.fetch("SELECT by FROM wharfd.effects") == [("3",)]
    assert len((await kit.things.get(key))["history"]) == 2


async def test_what_is_returned_after_commit_changes_nothing(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        async with job.commit():
            pass
        raise ValueError("too late")

    async with kit.work(handle):
        assert await kit.settled() == {"done": 1}
    assert (await kit.things.get(key))["attempts"] == 1
    assert [entry["row"] for entry in kit.logs if entry["event"] == "failed_after_commit"] == [str(key)]


@pytest.mark.parametrize("batch", [1, 10])
async def test_a_lost_fence_rolls_back_and_the_new_holder_wins(kit, batch):
    ids = await kit.things.add(2)
    lost = []

    async def handle(ctx, work):
        jobs = list(work) if batch > 1 else [work]
        if not lost and any(job.row.id == ids[0] for job in jobs):
            await kit.things.set("claim = 7", f"id = {ids[0]}")  # somebody else has taken it over
            try:
                async with work.commit() as tx:
                    for job in jobs:
                        await tx.execute(kit.EFFECT, job.row.id, "stale")
            except LeaseLost:
                lost.append(True)
                raise
        async with work.commit() as tx:
            for job in jobs:
                await tx.execute(kit.EFFECT, job.row.id, "")

    async with kit.work(handle, batch=batch, concurrency=1) as runner:

        async def other_is_done():
            return (await kit.things.get(ids[1]))["state"] == "done"

        await kit.wait_for(other_is_done)
        row = await kit.things.get(ids[0])
        assert (row["state"], row["claim"], row["attempts"]) == ("running", 7, 1)
        assert (await kit.things.get(ids[1]))["attempts"] == 1
        assert runner.queue.counters.lost == 1
        await kit.things.set("state = 'ready', claim = NULL", f"id = {ids[0]}")
        assert await kit.settled() == {"done": 2}
    assert await kit.things.fetch("SELECT id, by FROM wharfd.effects ORDER BY id") == [(i, "") for i in ids]


async def test_a_result_that_comes_after_the_row_was_lost_is_dropped(kit):
    (key,) = await kit.things.add()
    held = trio.Event()
    go = trio.Event()

    async def handle(ctx, job):
        held.set()
        await go.wait()
        return Bury("from the one who lost it")

    async with kit.work(handle) as runner:
        await held.wait()
        await kit.things.set("claim = 7")
        go.set()

        async def dropped():
            return runner.queue.counters.lost == 1

        await kit.wait_for(dropped)
    row = await kit.things.get(key)
    assert (row["state"], row["claim"], row["last_error"]) == ("running", 7, None)
    assert [entry["event"] for entry in kit.logs].count("lease_lost") == 1
