"""One row at a time: every way a handler can end, and what is found in the table afterwards."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest
import trio

from wharfd.db import sql
from wharfd.declare import Retry
from wharfd.errors import ServiceUnavailable
from wharfd.work import Bury, Cancel, Done, Hold, RetryAfter, Snooze


async def test_every_row_is_handled_once_with_its_columns(kit):
    ids = await kit.things.add(250, note="hello")
    seen = []

    async def handle(ctx, job):
        assert ctx == "context"
        assert (job.row.note, job.attempt, job.key, job.last) == ("hello", 1, str(job.row.id), False)
        seen.append(job.row.id)

    async with kit.work(handle, ctx="context") as runner:
        assert await kit.settled() == {"done": 250}
    assert runner.queue.counters.done == 250  # counted once the answer is read, and that is now
    assert sorted(seen) == ids
    row = await kit.things.get(ids[0])
    assert row["finished_at"] is not None
    assert (row["attempts"], row["claim"], row["lease_until"], row["last_error"]) == (1, None, None, None)


async def test_done_rows_can_be_deleted(kit):
    await kit.things.add(5)

    async def handle(ctx, job):
        return Done()

    async with kit.work(handle, keep_done=False):
        assert await kit.settled() == {}


@pytest.mark.parametrize("how", ["return", "raise", "raise in a nursery"])
async def test_an_outcome_may_be_returned_or_raised(kit, how):
    (key,) = await kit.things.add()

    async def refuse(outcome):
        raise outcome

    async def handle(ctx, job):
        outcome = Bury("hopeless")
        if how == "return":
            return outcome
        if how == "raise":
            raise outcome
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse, outcome)

    async with kit.work(handle):
        assert await kit.settled() == {"buried": 1}
    row = await kit.things.get(key)
    assert row["last_error"] == "hopeless"
    assert row["finished_at"] is not None
    assert kit.buried == [("test.things", str(key), "hopeless")]


async def test_a_failure_is_tried_again_and_then_buried_with_its_history(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        raise ValueError(f"try {job.attempt}\x00")

    async with kit.work(handle):
        assert await kit.settled() == {"buried": 1}
    row = await kit.things.get(key)
    assert row["attempts"] == 3
    assert row["last_error"] == "ValueError: try 3�"
    assert [(entry["attempt"], entry["state"]) for entry in row["history"]] == [
        (1, "ready"),
        (2, "ready"),
        (3, "buried"),
    ]
    assert row["history"][0]["error"] == "ValueError: try 1�"
    assert "at" in row["history"][0]


async def test_the_history_keeps_the_last_twenty(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        raise ValueError(job.attempt)

    async with kit.work(handle, retry=Retry(attempts=23, delays=(0,), jitter=0)):
        await kit.settled()
    history = (await kit.things.get(key))["history"]
    assert [entry["attempt"] for entry in history] == list(range(4, 24))


async def test_a_success_after_failures_keeps_the_history_and_drops_the_error(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        if job.attempt < 3:
            raise RetryAfter(0.01, "not yet")
        assert job.last

    async with kit.work(handle):
        assert await kit.settled() == {"done": 1}
    row = await kit.things.get(key)
    assert row["last_error"] is None
    assert [entry["error"] for entry in row["history"]] == ["not yet", "not yet"]


async def test_snooze_costs_no_attempt(kit):
    (key,) = await kit.things.add()
    times = []

    async def handle(ctx, job):
        times.append(job.attempt)
        if len(times) < 8:
            return Snooze(0.01)
        return None

    async with kit.work(handle):
        assert await kit.settled() == {"done": 1}
    assert times == [1] * 8
    assert (await kit.things.get(key))["history"] is None


async def test_snooze_until_a_time(kit):
    (key,) = await kit.things.add()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    async def handle(ctx, job):
        return Snooze(until=until)

    async def snoozed():
        row = await kit.things.get(key)
        return row["due_at"] == until and row

    async with kit.work(handle):
        row = await kit.wait_for(snoozed)
    assert (row["state"], row["attempts"]) == ("ready", 0)


async def test_hold_and_cancel(kit):
    held, cancelled = await kit.things.add(2)

    async def handle(ctx, job):
        return Hold("endpoint is off") if job.row.id == held else Cancel("order is gone")

    async with kit.work(handle):
        assert await kit.settled() == {"held": 1, "cancelled": 1}
    row = await kit.things.get(held)
    assert (row["attempts"], row["last_error"], row["finished_at"]) == (0, "endpoint is off", None)
    row = await kit.things.get(cancelled)
    assert (row["attempts"], row["last_error"]) == (1, "order is gone")
    assert row["finished_at"] is not None


async def test_a_handler_that_takes_too_long_has_failed(kit):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        await trio.sleep_forever()

    async with kit.work(handle, timeout_seconds=0.05, retry=Retry(attempts=1)):
        assert await kit.settled() == {"buried": 1}
    assert (await kit.things.get(key))["last_error"] == "TimeoutError: no end within 0.05 s"


async def test_sys_exit_ends_only_the_handler(kit):
    await kit.things.add(2)

    async def handle(ctx, job):
        sys.exit(1)

    async with kit.work(handle, retry=Retry(attempts=1)):
        assert await kit.settled() == {"buried": 2}


async def test_a_missing_service_costs_no_attempt(kit):
    (key,) = await kit.things.add()
    called = trio.Event()

    async def handle(ctx, job):
        called.set()
        raise ServiceUnavailable

    async def offered_again():
        row = await kit.things.get(key)
        return row["state"] == "ready" and row

    async with kit.work(handle):
        await called.wait()
        row = await kit.wait_for(offered_again)
    assert row["attempts"] == 0
    assert row["last_error"].startswith("ServiceUnavailable: ")


async def test_a_row_that_does_not_fit_its_type_is_buried_and_hurts_nobody(kit):
    class Strict(kit.Thing):
        note: int = 0

    bad, good = await kit.things.add(2)
    await kit.db.owner.execute(
        sql(
            "test.alter",
            "ALTER TABLE wharfd.things ALTER note DROP DEFAULT, ALTER note TYPE jsonb USING '1'::jsonb",
        )
    )
    await kit.things.set("note = '\"text\"'", f"id = {bad}")
    seen = []

    async def handle(ctx, job):
        seen.append(job.row.note)

    engine = kit.engine()
    queue = kit.queue(handle)
    queue = await engine.prepare("test", type(queue)(**{**vars(queue), "row": Strict}))
    async with kit.running(engine, queue):
        assert await kit.settled() == {"buried": 1, "done": 1}
    assert seen == [1]
    assert "does not fit Strict" in (await kit.things.get(bad))["last_error"]
    assert (await kit.things.get(good))["state"] == "done"


async def test_priority_then_age_decides(kit):
    low = await kit.things.add(3, priority=200)
    high = await kit.things.add(3, priority=10)
    old = await kit.things.add(1, priority=10, due_in=-60)
    seen = []

    async def handle(ctx, job):
        seen.append(job.row.id)

    async with kit.work(handle, concurrency=1):
        await kit.settled()
    assert seen == old + high + low


async def test_a_row_is_not_taken_before_its_time_and_then_at_once(kit):
    await kit.things.add(due_in=0.3)
    late = []

    async def handle(ctx, job):
        late.extend(
            await kit.things.fetch("SELECT extract(epoch FROM now() - due_at)::float8 FROM wharfd.things")
        )

    async with kit.work(handle):
        await kit.settled()
    assert 0 <= late[0][0] < 3
