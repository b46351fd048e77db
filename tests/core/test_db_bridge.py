"""The bridge: asyncio functions, coroutines and iterators from trio, with trio's cancellation."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

# The library under test is the only way to an asyncio loop; the tests use it through plain futures.
from wharfd.db import Bridge, current_bridge, open_bridge, run_asyncio


class Boom(Exception):
    pass


async def wait_for(bridge, unwound):
    """An asyncio function that waits for ever and notes how it was ended."""
    try:
        await bridge.loop.create_future()
    except BaseException as error:
        unwound.append(type(error).__name__)
        raise


async def test_run_returns_raises_and_passes_arguments(bridge):
    async def add(a, *, b):
        return a + b

    async def fail():
        raise Boom("why")

    assert await bridge.run(add, 1, b=2) == 3
    with pytest.raises(Boom, match="why"):
        await bridge.run(fail)


async def test_drive_runs_in_the_calling_task(bridge):
    async def twice():
        for _ in range(2):
            future = bridge.loop.create_future()
            bridge.loop.call_soon(future.set_result, 7)
            result = await future
        return result

    assert await bridge.drive(twice()) == 7


@pytest.mark.parametrize("how", ["run", "drive"])
async def test_a_deadline_cancels_and_waits_for_the_unwinding(bridge, how):
    unwound = []
    with trio.move_on_after(0.02) as scope:
        if how == "run":
            await bridge.run(wait_for, bridge, unwound)
        else:
            await bridge.drive(wait_for(bridge, unwound))
    assert scope.cancelled_caught
    assert unwound == ["CancelledError"]


@pytest.mark.parametrize("how", ["run", "drive"])
async def test_a_cancellation_from_within_is_an_error_not_a_shutdown(bridge, how):
    async def cancelled_by_somebody():
        future = bridge.loop.create_future()
        bridge.loop.call_soon(future.cancel)
        await future

    with pytest.raises(ConnectionAbortedError, match="cancelled from within"):
        if how == "run":
            await bridge.run(cancelled_by_somebody)
        else:
            await bridge.drive(cancelled_by_somebody())


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_an_answer_and_a_cancellation_in_one_moment_wake_once(bridge, cancelled_first):
    future, ended = bridge.loop.create_future(), []

    async def wait(scope):
        async def answer():
            return await future

        with scope:
            ended.append(await bridge.drive(answer()))

    scope = trio.CancelScope()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, scope)
            await trio.testing.wait_all_tasks_blocked()
            if cancelled_first:
                scope.cancel()
                assert future.done()  # it was cancelled with whoever waits for it
            else:
                future.set_result("here")
                scope.cancel()
    assert ended == ([] if cancelled_first else ["here"])
    assert await bridge.drive(_sum(bridge)) == 3  # the bridge is whole


async def _sum(bridge):
    one, two = bridge.loop.create_future(), bridge.loop.create_future()
    bridge.loop.call_soon(one.set_result, 1)
    bridge.loop.call_soon(two.set_result, 2)
    return await one + await two


async def test_works_from_a_task_with_a_foreign_context(bridge):
    """Tasks of a server's nursery, opened before the bridge, do not inherit its context variables."""
    seen = []

    async def work():
        async def ask():
            future = bridge.loop.create_future()
            bridge.loop.call_later(0, future.set_result, "answer")
            return await future

        seen.append(await run_asyncio(ask))
        seen.append(await bridge.drive(ask()))

    async with trio.open_nursery() as nursery:
        contextvars.Context().run(nursery.start_soon, work)
    assert seen == ["answer", "answer"]


async def test_iterate_reads_an_asyncio_iterator(bridge):
    async def numbers():
        for number in range(3):
            future = bridge.loop.create_future()
            bridge.loop.call_soon(future.set_result, number)
            yield await future

    assert [number async for number in bridge.iterate(numbers())] == [0, 1, 2]


async def test_a_stray_error_in_a_callback_does_not_end_the_run(bridge):
    def broken():
        raise Boom

    bridge.loop.call_soon(broken)

    async def settle():
        future = bridge.loop.create_future()
        bridge.loop.call_soon(future.set_result, None)
        await future

    with capture_logs() as logs:
        await bridge.run(settle)
    assert [entry["event"] for entry in logs] == ["asyncio_error"]


async def test_a_lone_error_leaves_the_block_as_itself():
    with pytest.raises(Boom):
        async with open_bridge():
            raise Boom


async def test_without_a_bridge_the_way_out_is_named():
    with pytest.raises(RuntimeError, match=r"open one with open_bridge\(\)"):
        current_bridge()
    async with open_bridge() as bridge:
        assert isinstance(bridge, Bridge)
        assert current_bridge() is bridge
    with pytest.raises(RuntimeError, match="no bridge is open"):
        await run_asyncio(trio.sleep, 0)
