"""Bells, notices to other daemons, and what happens when a notice is lost."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.db import sql
from wharfd.declare import JobKind, WorkQueue
from wharfd.work import lookout as lookout_module
from wharfd.work import runner as runner_module
from wharfd.work.jobs import queue_of
from wharfd.work.lookout import Lookout, Watched
from wharfd.work.waking import CHANNEL, Bell, payloads


async def test_a_bell_rung_before_is_heard_once_and_hushed(autojump_clock):
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait(1)
    bell.hush()
    began = trio.current_time()
    assert not await bell.wait(3)
    assert trio.current_time() - began == pytest.approx(3)


async def test_a_timer_set_while_somebody_waits_counts(autojump_clock, nursery):
    bell = Bell()
    began = trio.current_time()

    async def later():
        await trio.sleep(1)
        bell.ring_in(2)
        bell.ring_in(50)

    nursery.start_soon(later)
    assert await bell.wait(100)
    assert trio.current_time() - began == pytest.approx(3)
    bell.hush()
    assert await bell.wait(100)
    assert trio.current_time() - began == pytest.approx(51)


async def test_a_ring_wakes_at_once(autojump_clock, nursery):
    bell = Bell()
    began = trio.current_time()

    async def later():
        await trio.sleep(1)
        bell.ring()

    nursery.start_soon(later)
    assert await bell.wait(100)
    assert trio.current_time() - began == pytest.approx(1)


@given(st.lists(st.from_regex(r"[a-z]{1,60}\.[a-z]{1,60}", fullmatch=True), max_size=300, unique=True))
def test_payloads_carry_every_name_and_fit(names):
    lines = payloads("sender", names)
    assert all(len(line.encode()) < 8000 and line.startswith("sender ") for line in lines)
    assert [name for line in lines for name in line.split(" ")[1:]] == names


async def test_other_daemons_are_woken_after_the_commit_by_few_notices(kit, monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_SECONDS", (300, 300))
    seen = []

    async def handle(ctx, job):
        seen.append(job.row.id)

    async with (
        kit.open_engine("publisher") as publisher,
        kit.open_engine("worker") as worker,
        kit.db.listen(CHANNEL) as notices,
    ):
        await publisher.prepare("test", kit.queue(handle))
        async with kit.work(handle, engine=worker):
            for _ in range(30):
                async with kit.db.transaction() as tx:
                    await tx.execute(sql("test.one", "INSERT INTO wharfd.things (note) VALUES ('x')"))
                    publisher.work.wake(tx, "test.things")
                    assert seen == [] or max(seen) < 31
            assert await kit.settled() == {"done": 30}
        heard = notices.statistics().current_buffer_used
    assert 1 <= heard <= 15
    assert publisher.queues["test.things"].counters.arrived == 30


async def test_a_rolled_back_transaction_wakes_nobody(kit):
    engine = kit.engine()

    async def handle(ctx, job):
        pass

    await engine.prepare("test", kit.queue(handle))
    bell = engine.wakeups.bell("test.things")
    with pytest.raises(ValueError, match="no"):
        async with kit.db.transaction() as tx:
            engine.work.wake(tx, "test.things")
            raise ValueError("no")
    with trio.move_on_after(0.05):
        assert not await bell.wait(0.05)
    assert engine.queues["test.things"].counters.arrived == 0


async def test_work_nobody_told_of_is_found_by_looking(kit, monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_SECONDS", (0.1, 0.3))

    async def handle(ctx, job):
        pass

    async with kit.work(handle):
        await kit.settled()
        await kit.things.add(3)  # no wake at all
        assert await kit.settled() == {"done": 3}


async def test_a_notice_for_all_rings_everywhere(kit):
    wakeups = kit.engine().wakeups
    bells = [wakeups.bell(name) for name in ("a.b", "c.d")]
    wakeups.heard("", "")  # the listener reconnected
    assert all([await bell.wait(0) for bell in bells])
    for bell in bells:
        bell.hush()
    wakeups.heard(CHANNEL, "one a.b")  # our own
    assert not await bells[0].wait(0)
    wakeups.heard(CHANNEL, "two a.b unknown.queue")
    assert await bells[0].wait(0)
    assert not await bells[1].wait(0)


async def test_an_idle_queue_hardly_asks(kit, monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_SECONDS", (0.2, 1.0))

    async def handle(ctx, job):
        pass

    def count():
        return sum(s.count for s in kit.db.statistics().statements if s.name.endswith(("claim", "next_due")))

    async with kit.work(handle):
        before = count()
        await trio.sleep(1.5)
        assert count() - before <= 10


async def test_the_lookout_sees_due_rows_and_expired_leases_of_all_queues_at_once(kit):
    engine = kit.engine()

    async def handle(ctx, job):
        pass

    plain = await engine.prepare("test", kit.queue(handle))
    lane = WorkQueue(
        name="lane", table="wharfd.things", row=kit.Thing, handler=handle, fair_by="owner", key=("id",)
    )
    fair = await engine.prepare("test", lane)
    mail = await engine.prepare(
        "test", queue_of("test", JobKind(name="mail", args=kit.Thing, handler=handle))
    )
    watched = [Watched(queue, Bell(), Bell()) for queue in (plain, fair, mail)]
    lookout = Lookout(kit.db)
    for one in watched:
        lookout.watch(one)
    assert not lookout.reliable

    async def look():
        for one in watched:
            one.due.hush()
            one.expired.hush()
        await lookout.look()
        return [(await one.due.wait(0), await one.expired.wait(0)) for one in watched]

    assert await look() == [(False, False)] * 3
    assert lookout.reliable
    await kit.things.add()
    assert await look() == [(True, False), (False, False), (False, False)]
    await kit.things.fetch(
        "INSERT INTO wharfd.jobs (id, kind, args, priority) SELECT k || i, k, '{}', i "
        "FROM unnest(ARRAY['other.mail', 'z.mail']) k, generate_series(1, 3) i RETURNING 1"
    )
    assert (await look())[2] == (False, False)  # other lanes of its table are not its own
    await kit.things.fetch("UPDATE wharfd.jobs SET kind = 'test.mail' WHERE priority = 3 RETURNING 1")
    assert (await look())[2] == (True, False)
    await kit.things.fetch("UPDATE wharfd.jobs SET due_at = now() + interval '1 day' RETURNING 1")
    assert (await look())[2] == (False, False)
    await kit.things.set("state = 'running', claim = 1, lease_until = now() - interval '1 second'")
    assert await look() == [(False, True), (False, True), (False, False)]
    await kit.things.set("state = 'ready', due_at = now() + interval '0.2 seconds'")
    await lookout.look()
    watched[0].due.hush()
    began = trio.current_time()
    assert await watched[0].due.wait(60)
    assert trio.current_time() - began < 30
    lookout.leave(watched[0])
    assert (await look())[0] == (False, False)


async def test_with_a_lookout_queues_hardly_ask_and_still_find_everything(kit, monkeypatch):
    monkeypatch.setattr(lookout_module, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(runner_module, "POLL_SECONDS", (0.5, 1.0))

    async def handle(ctx, job):
        pass

    async with kit.open_engine() as engine, kit.work(handle, engine=engine) as runner:
        await kit.settled()
        await trio.sleep(1.2)
        await kit.things.add(3)  # no wake
        assert await kit.settled(seconds=2) == {"done": 3}
        runner._pause = 1000
        await kit.things.add(2)
        await kit.things.set(
            "state = 'running', attempts = 1, claim = 1, lease_until = now()", "state = 'ready'"
        )
        assert await kit.settled(seconds=3) == {"done": 5}
