"""One-off jobs."""

from __future__ import annotations

import msgspec
import pytest
import trio

from wharfd.db import sql
from wharfd.declare import JobKind, Retry
from wharfd.errors import UnknownQueue
from wharfd.work import Bury, Jobs
from wharfd.work.jobs import FORGET, queue_of

BAD = sql(
    "test.bad",
    """INSERT INTO wharfd.jobs (id, kind, args, priority)
VALUES ('job_bad', 'shop.mail', '{"to": 5}', 200)""",
)


class Mail(msgspec.Struct):
    to: str
    count: int = 1


async def opened(kit, handler, **more):
    engine = kit.engine()
    kind = JobKind(name="mail", args=Mail, handler=handler, retry=kit.QUICK, **more)
    queue = await engine.prepare("shop", queue_of("shop", kind), forget=FORGET)
    return engine, queue, Jobs("shop", engine.work, {Mail: kind})


async def add(kit, jobs, *args, **more):
    async with kit.db.transaction() as tx:
        return await jobs.enqueue(tx, *args, **more)


async def test_a_job_is_done_once_with_its_arguments_and_forgotten(kit):
    done = trio.Event()
    seen = []

    async def handle(ctx, args, job):
        seen.append((ctx, args, job.key, job.attempt))
        done.set()

    engine, queue, jobs = await opened(kit, handle)
    job_id = await add(kit, jobs, Mail("anna", 2))
    assert job_id.startswith("job_")
    async with kit.running(engine, queue, "ctx"):
        await done.wait()
    assert seen == [("ctx", Mail("anna", 2), job_id, 1)]
    assert await kit.things.fetch("SELECT count(*) FROM wharfd.jobs") == [(0,)]


async def test_a_rolled_back_job_never_was(kit):
    async def handle(ctx, args, job):
        raise AssertionError

    _, _, jobs = await opened(kit, handle)
    with pytest.raises(KeyError):
        async with kit.db.transaction() as tx:
            await jobs.enqueue(tx, Mail("anna"))
            raise KeyError
    assert await kit.things.fetch("SELECT count(*) FROM wharfd.jobs") == [(0,)]


async def test_an_unfinished_job_with_the_same_key_is_not_doubled(kit):
    async def handle(ctx, args, job):
        if args.to == "bad":
            raise Bury("bad")

    engine, queue, jobs = await opened(kit, handle, keep_done=True)
    first = await add(kit, jobs, Mail("anna"), unique="k")
    assert await add(kit, jobs, Mail("bert"), unique="k") == first
    assert await add(kit, jobs, Mail("bert"), unique="other") != first
    assert await add(kit, jobs, Mail("bert")) != first

    async def none_open():
        return await kit.things.fetch("SELECT 1 FROM wharfd.jobs WHERE state = 'done' HAVING count(*) = 3")

    async with kit.running(engine, queue):
        await kit.wait_for(none_open)
    again = await add(kit, jobs, Mail("bad"), unique="k")
    assert again != first


async def test_many_at_once_with_one_key_add_one(kit, nursery):
    async def handle(ctx, args, job):
        pass

    _, _, jobs = await opened(kit, handle)
    found = []

    async def one():
        found.append(await add(kit, jobs, Mail("anna"), unique="k"))

    async with trio.open_nursery() as racers:
        for _ in range(15):
            racers.start_soon(one)
    assert len(set(found)) == 1
    assert await kit.things.fetch("SELECT count(*) FROM wharfd.jobs") == [(1,)]


async def test_a_requeued_job_may_meet_a_younger_one(kit):
    async def handle(ctx, args, job):
        raise Bury("no")

    engine, queue, jobs = await opened(kit, handle)
    await add(kit, jobs, Mail("anna"), unique="k")

    async def buried():
        return await kit.things.fetch("SELECT 1 FROM wharfd.jobs WHERE state = 'buried'")

    async with kit.running(engine, queue):
        await kit.wait_for(buried)
    await add(kit, jobs, Mail("bert"), unique="k")
    assert await engine.work.retry_all("shop.mail", actor="anna") == 1
    assert await kit.things.fetch("SELECT count(*) FROM wharfd.jobs WHERE state = 'ready'") == [(2,)]


async def test_due_priority_and_bad_arguments(kit):
    buried = trio.Event()
    order = []

    async def handle(ctx, args, job):
        order.append(args.to)

    engine, queue, jobs = await opened(kit, handle, concurrency=1)
    engine.buried = lambda *args: buried.set()
    await add(kit, jobs, Mail("later"), due_in=3600)
    await add(kit, jobs, Mail("second"))
    await add(kit, jobs, Mail("first"), priority=1)
    await kit.db.execute(BAD)
    async with kit.running(engine, queue):
        with trio.fail_after(60):
            await buried.wait()
    assert order == ["first", "second"]
    rows = await kit.things.fetch("SELECT last_error FROM wharfd.jobs WHERE state = 'buried'")
    assert "the arguments do not fit Mail" in rows[0][0]


async def test_what_cannot_be_enqueued_is_refused(kit):
    async def handle(ctx, args, job):
        pass

    _, _, jobs = await opened(kit, handle)
    with pytest.raises(UnknownQueue, match="declares no job for Other"):
        await add(kit, jobs, type("Other", (msgspec.Struct,), {})())
    with pytest.raises(ValueError, match="NUL"):
        await add(kit, jobs, Mail("a\x00b"))


def test_a_kind_becomes_a_queue():
    kind = JobKind(name="mail", args=Mail, handler=None, retry=Retry(attempts=2), timeout_seconds=3)
    queue = queue_of("shop", kind)
    assert (queue.lane, queue.retry.attempts, queue.timeout_seconds) == (("kind", "shop.mail"), 2, 3)
