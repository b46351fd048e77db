"""Stopping: nothing new is claimed, nothing costs an attempt, nothing is left claimed."""

from __future__ import annotations

import pytest
import trio


async def test_what_runs_may_end_and_what_is_not_started_is_handed_back(kit):
    await kit.things.add(100)
    started = trio.Event()
    go = trio.Event()

    async def handle(ctx, batch):
        started.set()
        await go.wait()

    async with kit.work(handle, batch=10, concurrency=2) as runner:
        await started.wait()
        runner.stop(5)
        go.set()
    states = await kit.things.states()
    assert states["done"] in (10, 20)
    assert states["ready"] == 100 - states["done"]
    assert await kit.things.fetch(
        "SELECT max(attempts), count(claim) FROM wharfd.things WHERE state = 'ready'"
    ) == [(0, 0)]


async def test_a_handler_that_does_not_end_in_time_is_cancelled_at_no_cost(kit):
    (key,) = await kit.things.add()
    before = await kit.things.get(key)
    started = trio.Event()

    async def handle(ctx, job):
        started.set()
        await trio.sleep_forever()

    async with kit.work(handle) as runner:
        await started.wait()
        began = trio.current_time()
        runner.stop(0.1)
    assert trio.current_time() - began < 15
    row = await kit.things.get(key)
    assert (row["state"], row["attempts"], row["claim"], row["history"]) == ("ready", 0, None, None)
    assert row["due_at"] == before["due_at"]


@pytest.mark.parametrize("batch", [1, 10])
async def test_a_cancelled_nursery_hands_everything_back(kit, batch):
    await kit.things.add(200)
    engine = kit.engine()
    started = trio.Event()

    async def handle(ctx, work):
        started.set()
        await trio.sleep_forever()

    queue = await engine.prepare("test", kit.queue(handle, batch=batch))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.runner(queue, None).run)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert await kit.things.states() == {"ready": 200}
    assert await kit.things.fetch("SELECT max(attempts), count(claim) FROM wharfd.things") == [(0, 0)]


async def test_a_handler_that_fails_while_it_is_cancelled_disturbs_nobody(kit):
    await kit.things.add()
    started = trio.Event()

    async def fail_when_cancelled():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleaning up went wrong")

    async def handle(ctx, job):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)
            started.set()

    engine = kit.engine()
    queue = await engine.prepare("test", kit.queue(handle))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.runner(queue, None).run)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert await kit.things.states() == {"ready": 1}


async def test_run_queues_works_several_until_told_to_stop(kit):
    await kit.things.add(20)
    stop = trio.Event()
    seen = []

    async def handle(ctx, job):
        seen.append(ctx)

    engine = kit.engine()
    queue = await engine.prepare("test", kit.queue(handle))
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as plugin:
            run = plugin.start_soon
            run(lambda: engine.run_queues([queue], "ctx", stop=stop))
            assert await kit.settled() == {"done": 20}
            stop.set()
        nursery.cancel_scope.cancel()
    assert seen == ["ctx"] * 20
