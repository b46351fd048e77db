"""Schedules: one firing across daemons, catching up once, histories, changes of definition."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.declare import Schedule
from wharfd.errors import UnknownSchedule
from wharfd.schedule import Scheduler, definition, next_time

HOUR = timedelta(hours=1)


class Clockwork:
    """A scheduler on its own engine, as one daemon has it."""

    def __init__(self, kit, node):
        self.kit = kit
        self.engine = kit.engine(node)
        self.scheduler = Scheduler(kit.db, self.engine)

    @asynccontextmanager
    async def firing(self, *schedules, ctx=None, lease_seconds=60.0, stop_seconds=5):
        queue = await self.scheduler.declare("shop", schedules, lease_seconds=lease_seconds)
        async with self.kit.running(self.engine, queue, ctx, stop_seconds=stop_seconds) as runner:
            yield runner

    async def set(self, change, name="shop.tick"):
        await self.kit.things.fetch(f"UPDATE wharfd.schedules SET {change} WHERE name = $1 RETURNING 1", name)

    async def row(self, name="shop.tick"):
        return next(s for s in await self.scheduler.list() if s.name == name)


@pytest.fixture
async def clockwork(kit):
    return Clockwork(kit, "one")


def tick(handler, **more):
    return Schedule(name="tick", handler=handler, **({"every": HOUR} | more))


async def test_it_fires_when_due_once_over_two_daemons(kit, clockwork):
    fired = []

    async def handle(ctx):
        fired.append(ctx)

    other = Clockwork(kit, "two")
    schedule = tick(handle, every=timedelta(seconds=1))
    async with clockwork.firing(schedule, ctx="one"), other.firing(schedule, ctx="two"):

        async def thrice():
            return len(fired) >= 3

        await kit.wait_for(thrice)
    runs = await clockwork.scheduler.runs("shop.tick")
    assert len(runs) == len(fired)
    planned = [run.planned_at for run in runs]
    assert len(set(planned)) == len(planned)
    assert all(run.outcome == "done" and run.node in ("one", "two") for run in runs)
    for earlier, later in zip(planned[1:], planned, strict=False):
        assert later - earlier == timedelta(seconds=1)


async def test_after_downtime_it_fires_once_and_goes_on_as_planned(kit, clockwork):
    fired = []

    async def handle(ctx):
        fired.append(1)

    await clockwork.scheduler.declare("shop", [tick(handle)])
    long_ago = "'2020-01-01 00:30:00+00'"
    await clockwork.set(f"planned_at = {long_ago}, due_at = {long_ago}")

    async def next_is_ahead():
        status = await clockwork.row()
        return status.state == "ready" and status.next_at > datetime.now(UTC) and status

    async with clockwork.firing(tick(handle)):
        status = await kit.wait_for(next_is_ahead)
    assert len(fired) == 1
    assert status.next_at - datetime.now(UTC) <= HOUR
    assert (status.next_at.minute, status.next_at.second) == (30, 0)  # in step with its old times
    assert (status.last_outcome, status.last_error) == ("done", None)


async def test_a_failure_is_kept_in_the_history_and_the_next_time_stays(kit, clockwork):
    async def handle(ctx):
        raise ValueError("broken")

    await clockwork.scheduler.declare("shop", [tick(handle, cron="0 2 * * *", every=None)])
    await clockwork.set("due_at = now()")

    async def failed():
        status = await clockwork.row()
        return status.last_outcome == "failed" and status.state == "ready" and status

    async with clockwork.firing(tick(handle, cron="0 2 * * *", every=None)):
        status = await kit.wait_for(failed)
    assert status.last_error == "ValueError: broken"
    assert (status.next_at.hour, status.next_at.minute) == (2, 0)
    assert (await kit.things.fetch("SELECT attempts FROM wharfd.schedules")) == [(0,)]


async def test_a_firing_that_takes_too_long_has_failed(kit, clockwork):
    async def handle(ctx):
        await trio.sleep_forever()

    async with clockwork.firing(tick(handle, timeout_seconds=0.05)):
        assert await clockwork.scheduler.run_now("shop.tick", actor="anna")

        async def failed():
            return (await clockwork.row()).last_outcome == "failed"

        await kit.wait_for(failed)
    assert (await clockwork.row()).last_error == "TimeoutError: no end within 0.05 s"


async def test_run_now_fires_beside_the_plan(kit, clockwork):
    fired = trio.Event()
    go = trio.Event()

    async def handle(ctx):
        fired.set()
        await go.wait()

    async with clockwork.firing(tick(handle)):
        planned = (await clockwork.row()).next_at
        assert await clockwork.scheduler.run_now("shop.tick", actor="anna")
        with trio.fail_after(60):
            await fired.wait()
        assert not await clockwork.scheduler.run_now("shop.tick", actor="anna")  # it runs already
        go.set()

        async def done():
            return (await clockwork.row()).last_outcome == "done"

        await kit.wait_for(done)
    (run,) = await clockwork.scheduler.runs("shop.tick")
    assert run.by_hand
    assert (await clockwork.row()).next_at == planned
    with pytest.raises(UnknownSchedule, match=r"'shop\.tock'"):
        await clockwork.scheduler.run_now("shop.tock", actor="anna")


async def test_a_long_firing_keeps_its_lease(kit, clockwork):
    fired = []

    async def handle(ctx):
        fired.append(ctx)
        await trio.sleep(1.3)

    other = Clockwork(kit, "two")
    async with (
        clockwork.firing(tick(handle), lease_seconds=0.5),
        other.firing(tick(handle), lease_seconds=0.5),
    ):
        await clockwork.scheduler.run_now("shop.tick", actor="anna")

        async def done():
            return (await clockwork.row()).last_outcome == "done"

        await kit.wait_for(done)
    assert len(fired) == 1


async def test_a_firing_whose_daemon_died_is_done_by_another(kit, clockwork):
    fired = []

    async def handle(ctx):
        fired.append(ctx)

    await clockwork.scheduler.declare("shop", [tick(handle)])
    await clockwork.set(
        "state = 'running', attempts = 1, claim = 7, due_at = now(), "
        "lease_until = now() - interval '1 second'"
    )
    await kit.things.fetch(
        "INSERT INTO wharfd.schedule_runs (schedule, planned_at, by_hand, node) "
        "VALUES ('shop.tick', now(), false, 'dead') RETURNING 1"
    )
    async with clockwork.firing(tick(handle)):

        async def done():
            return (await clockwork.row()).last_outcome == "done"

        await kit.wait_for(done)
    runs = await clockwork.scheduler.runs("shop.tick")
    assert [(run.node, run.outcome) for run in runs] == [("one", "done"), ("dead", "lost")]
    assert len(fired) == 1


async def test_a_firing_that_is_stopped_is_done_again(kit, clockwork):
    started = trio.Event()

    async def handle(ctx):
        started.set()
        await trio.sleep_forever()

    async with clockwork.firing(tick(handle), stop_seconds=0):
        await clockwork.scheduler.run_now("shop.tick", actor="anna")
        await started.wait()
    status = await clockwork.row()
    assert (status.last_outcome, status.state) == ("interrupted", "ready")
    assert status.next_at <= datetime.now(UTC)


async def test_changed_removed_and_returned_schedules(kit, clockwork):
    async def handle(ctx):
        pass

    declare = clockwork.scheduler.declare
    await declare("shop", [tick(handle), Schedule(name="nightly", handler=handle, cron="0 1 * * *")])
    await clockwork.set("due_at = '2020-01-01', planned_at = '2020-01-01'")
    before = await clockwork.row()
    await declare("shop", [tick(handle)])
    assert (await clockwork.row()).next_at == before.next_at  # unchanged: what is due stays due
    assert (await clockwork.row("shop.nightly")).absent_since is not None
    assert (await clockwork.row("shop.nightly")).state == "cancelled"
    assert not await clockwork.scheduler.run_now("shop.nightly", actor="anna")
    await declare("shop", [tick(handle, every=2 * HOUR)])
    assert (await clockwork.row()).next_at > datetime.now(UTC) + HOUR  # changed: planned anew
    await declare("shop", [tick(handle), Schedule(name="nightly", handler=handle, cron="0 1 * * *")])
    nightly = await clockwork.row("shop.nightly")
    assert (nightly.absent_since, nightly.state) == (None, "ready")
    assert nightly.next_at > datetime.now(UTC)
    assert await declare("shop", []) is None
    assert all(status.absent_since for status in await clockwork.scheduler.list())
    json.dumps([status.definition for status in await clockwork.scheduler.list()])


async def test_a_schedule_this_daemon_does_not_know_is_left_to_others(kit, clockwork):
    async def handle(ctx):
        raise AssertionError

    async with clockwork.firing(tick(handle)):
        await kit.things.fetch(
            "INSERT INTO wharfd.schedules (name, plugin, definition, planned_at) "
            "VALUES ('shop.newer', 'shop', 'every 60', now()) RETURNING 1"
        )
        clockwork.engine.wakeups.wake(None, ["shop.schedules"])

        async def put_off():
            return (await clockwork.row("shop.newer")).next_at > datetime.now(UTC) + timedelta(seconds=50)

        await kit.wait_for(put_off)
    assert await clockwork.scheduler.runs("shop.newer") == []


times = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(times, st.integers(1, 10**6), st.integers(-(10**8), 10**8))
def test_an_interval_stays_in_step_and_ahead(last, seconds, passed):
    schedule = Schedule(name="tick", handler=None, every=timedelta(seconds=seconds))
    now = last + timedelta(seconds=passed)
    found = next_time(schedule, last, now)
    assert now < found <= now + timedelta(seconds=seconds)
    assert (found - last) % timedelta(seconds=seconds) == timedelta(0)


@given(times, st.sampled_from(["* * * * *", "*/7 3 * * *", "0 2 29 2 *", "30 1 * * MON"]))
def test_the_next_cron_time_is_after_now_and_fits(now, cron):
    schedule = Schedule(name="tick", handler=None, cron=cron)
    found = next_time(schedule, now, now)
    assert found > now
    assert (found.second, found.microsecond, found.utcoffset()) == (0, 0, timedelta(0))
    assert next_time(schedule, now, found - timedelta(microseconds=1)) == found


def test_definitions_and_refusals():
    assert definition(Schedule(name="a", handler=None, cron="0 2 * * *")) == "cron 0 2 * * *"
    jittery = Schedule(name="a", handler=None, every=timedelta(minutes=5), jitter_seconds=30)
    assert definition(jittery) == "every 300 jitter 30"
    with pytest.raises(ValueError, match="cron 'often' is wrong"):
        Schedule(name="a", handler=None, cron="often")
    with pytest.raises(ValueError, match="one of them"):
        Schedule(name="a", handler=None)
    with pytest.raises(ValueError, match="at least one second"):
        Schedule(name="a", handler=None, every=timedelta(0))
