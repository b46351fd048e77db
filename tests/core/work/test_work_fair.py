"""Fair shares per key, limits per key over all daemons, and strict order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio

from wharfd.work import Bury, RetryAfter
from wharfd.work.claiming import Round


async def test_a_huge_key_delays_nobody_for_long(kit):
    await kit.things.add(10_000, owner="m_huge", due_in=-100)
    for number in range(100):
        await kit.things.add(1, owner=f"{'a' if number % 2 else 'z'}{number:03}")
    order = []
    everybody = trio.Event()
    others = 0

    async def handle(ctx, job):
        nonlocal others
        order.append(job.row.owner)
        if job.row.owner != "m_huge":
            others += 1
            if others == 100:
                everybody.set()

    async with kit.work(handle, fair_by="owner", concurrency=10, stop_seconds=5):
        with trio.fail_after(60):
            await everybody.wait()
    before = order[: len(order) - order[::-1].index(next(o for o in reversed(order) if o != "m_huge"))]
    # All hundred were served while the huge key got a small share of its ten thousand.
    assert before.count("m_huge") < 1500


async def test_keys_share_evenly(kit):
    for number in range(10):
        await kit.things.add(300, owner=f"k{number}")
    seen = Counter()
    enough = trio.Event()

    async def handle(ctx, job):
        seen[job.row.owner] += 1
        await trio.sleep(0.001)
        if seen.total() >= 600:
            enough.set()

    async with kit.work(handle, fair_by="owner", concurrency=10):
        with trio.fail_after(60):
            await enough.wait()
        counts = [seen[f"k{number}"] for number in range(10)]
    assert max(counts) - min(counts) <= 40


@pytest.mark.parametrize("prefetch", [True, False])
async def test_no_key_has_more_running_than_allowed_over_all_daemons(kit, prefetch):
    for number in range(6):
        await kit.things.add(60, owner=f"k{number}")
    running = Counter()
    most = Counter()

    async def handle(ctx, job):
        owner = job.row.owner
        running[owner] += 1
        most[owner] = max(most[owner], running[owner])
        await trio.sleep(0.002 if prefetch else random.uniform(0, 0.01))
        running[owner] -= 1

    more = {"fair_by": "owner", "per_key": 3, "concurrency": 20}
    async with kit.work(handle, **more), kit.work(handle, engine=kit.engine("two"), **more):

        async def check():
            rows = await kit.things.fetch(
                "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM wharfd.things "
                "WHERE state = 'running' GROUP BY owner) x"
            )
            assert rows[0][0] <= 3
            return await kit.things.states() == {"done": 360}

        await kit.wait_for(check, 20)
    assert max(most.values()) == 3


async def test_each_key_is_worked_strictly_in_order_by_two_daemons(kit):
    for number in range(20):
        for _ in range(15):
            await kit.things.add(1, owner=f"k{number:02}", priority=random.choice([1, 100, 200]))
    order: dict[str, list[int]] = {}
    busy = set()
    failed = set()

    async def handle(ctx, job):
        owner = job.row.owner
        assert owner not in busy, "two rows of one key at a time"
        busy.add(owner)
        try:
            await trio.sleep(random.uniform(0, 0.003))
            if job.row.id % 7 == 0 and job.row.id not in failed:
                failed.add(job.row.id)
                raise RetryAfter(0.01, "once")
            order.setdefault(owner, []).append(job.row.id)
        finally:
            busy.discard(owner)

    more = {"fair_by": "owner", "ordered": True, "concurrency": 8}
    async with kit.work(handle, **more), kit.work(handle, engine=kit.engine("two"), **more):
        assert await kit.settled(seconds=20) == {"done": 300}
    assert all(ids == sorted(ids) and len(ids) == 15 for ids in order.values())
    assert not kit.buried


@pytest.mark.parametrize(("skip", "worked"), [(False, [1]), (True, [1, 3])])
async def test_a_buried_head_holds_its_key_back_unless_skipped(kit, skip, worked):
    await kit.things.add(3)
    (other,) = await kit.things.add(1, owner="b")
    seen = []

    async def handle(ctx, job):
        if job.row.id == 2:
            raise Bury("broken")
        seen.append(job.row.id)

    async def quiet():
        return len(seen) == len(worked) + 1 and (await kit.things.get(2))["state"] == "buried"

    async with kit.work(handle, fair_by="owner", ordered=True, skip_buried=skip) as runner:
        await kit.wait_for(quiet)
        if not skip:
            assert await runner._claimer.claim(10) == []
            assert await kit.things.states() == {"done": 2, "buried": 1, "ready": 1}
    assert sorted(seen) == [*worked, other]


async def test_a_head_that_waits_holds_its_key_back(kit):
    await kit.things.add(1, due_in=3600)
    await kit.things.add(5)
    engine = kit.engine()

    async def handle(ctx, job):
        raise AssertionError("the head of the key is not due")

    queue = await engine.prepare("test", kit.queue(handle, fair_by="owner", ordered=True))
    assert await engine.runner(queue, None)._claimer.claim(10) == []


class _Record(dict):
    pass


def test_the_round_goes_on_where_it_stopped_and_finds_the_share():
    turn = Round()
    assert turn.share(100) == 1  # careful until it knows how many keys there are
    turn.moved(100, 1, "a", [_Record(wharfd_by="a")])
    assert (turn.after, turn.more) == (None, True)
    assert turn.share(100) == 100  # one key alone gets everything
    taken = [_Record(wharfd_by=f"k{i}") for i in range(100)]
    turn.moved(100, None, "k99", taken)
    assert (turn.after, turn.more) == ("k99", True)
    assert turn.share(100) == 1
    turn.moved(100, 0, None, [])
    assert (turn.after, turn.more) == (None, True)  # the rest was empty, but the round began in the middle
    turn.moved(100, 3, "z", [])
    assert (turn.after, turn.more) == (None, False)
    turn.moved(100, 1000, "m", [])
    assert (turn.after, turn.more) == ("m", True)  # many keys with nothing due: go on, in another claim


def test_a_key_that_got_less_than_its_share_has_nothing_more():
    turn = Round()
    turn.moved(100, 1, "a", [_Record(wharfd_by="a")] * 3, share=100)
    assert turn.more is False
    turn.moved(100, 2, "b", [_Record(wharfd_by="a")] * 3 + [_Record(wharfd_by="b")] * 5, share=5)
    assert turn.more is True
    turn.moved(100, 1, "a", [_Record(wharfd_by="a")], share=5)
    assert turn.more is False
