"""Calls done together: groups by themselves, results to whom they belong, cancellation harms nobody else."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wharfd_webhooks.sending.gathering import Gathering


@given(st.lists(st.integers(), min_size=1, max_size=60), st.integers(1, 10))
def test_everybody_gets_their_own_result(items, most):
    groups = []

    async def act(group):
        groups.append(list(group))
        await trio.lowlevel.checkpoint()
        return [item * 2 for item in group]

    async def main():
        gathering = Gathering(act, most=most)
        results = {}

        async def call(place, item):
            results[place] = await gathering(item)

        async with trio.open_nursery() as nursery:
            for place, item in enumerate(items):
                nursery.start_soon(call, place, item)
        return results

    assert trio.run(main) == {place: item * 2 for place, item in enumerate(items)}
    assert sorted(item for group in groups for item in group) == sorted(items)
    assert max(map(len, groups)) <= most


async def test_what_arrives_meanwhile_is_one_group_and_two_never_run_at_once():
    sizes, running, gate = [], 0, trio.Event()

    async def act(group):
        nonlocal running
        running += 1
        assert running == 1
        sizes.append(len(group))
        await gate.wait()
        running -= 1
        return list(group)

    gathering = Gathering(act)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gathering, 0)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(1, 8):
            nursery.start_soon(gathering, n)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert sizes == [1, 7]


async def test_a_caller_that_is_cancelled_while_it_waits_is_left_out():
    done, gate = [], trio.Event()

    async def act(group):
        done.extend(group)
        await gate.wait()
        return list(group)

    gathering = Gathering(act)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gathering, "first")
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(gathering, "cancelled")
                inner.start_soon(gathering, "cancelled too")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        nursery.start_soon(gathering, "last")
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert done == ["first", "last"]


async def test_a_leader_that_is_cancelled_still_does_its_group():
    done, gate = [], trio.Event()

    async def act(group):
        await gate.wait()
        done.extend(group)
        return list(group)

    gathering = Gathering(act)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(gathering, "leader")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(gathering, "follower")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                nursery.start_soon(gate_later, gate)
    assert done == ["leader", "follower"]


async def gate_later(gate):
    await trio.lowlevel.checkpoint()
    gate.set()


async def test_a_failure_reaches_its_whole_group_and_nobody_else():
    async def act(group):
        if "bad" in group:
            raise OSError("broken")
        return list(group)

    gathering = Gathering(act)
    with pytest.raises(OSError, match="broken"):
        await gathering("bad")
    assert await gathering("good") == "good"
