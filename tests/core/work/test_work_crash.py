"""Real processes, really killed or frozen: no row is lost, none is finished twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from wharfd.declare import Retry
from wharfd.errors import DatabaseUnavailable

WORKER = Path(__file__).with_name("worker.py")
PATIENT = Retry(attempts=50, delays=(0.01,))


@asynccontextmanager
async def worker(settings, node, how, lease=1.0):
    """A daemon process, killed at the end if it still is there."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(WORKER), settings.url, node, how, str(lease)], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


async def read_until(process, count):
    """Wait until the process has said that it got so many jobs."""
    seen = b""
    with trio.fail_after(60):
        while seen.count(b"\n") < count:
            part = await process.stdout.receive_some(4096)
            assert part, "the worker ended by itself"
            seen += part


@pytest.mark.parametrize("how", ["slow", "commit"])
async def test_killed_workers_lose_nothing(kit, database_settings, how):
    ids = await kit.things.add(400)

    async def handle(ctx, job):
        if how == "commit":
            async with job.commit() as tx:
                await tx.execute(kit.EFFECT, job.row.id, "survivor")
        else:
            await kit.db.execute(kit.EFFECT, job.row.id, "survivor ended")

    async with (
        worker(database_settings, "one", how) as first,
        worker(database_settings, "two", how) as second,
    ):
        await read_until(first, 20)
        first.send_signal(signal.SIGKILL)
        await read_until(second, 20)
        second.send_signal(signal.SIGKILL)
    running = (await kit.things.states()).get("running", 0)
    async with kit.work(handle, lease_seconds=1.0, retry=PATIENT, concurrency=8) as runner:
        assert await kit.settled(seconds=60) == {"done": 400}
        assert runner.queue.counters.recovered >= running  # more where the machine stalls for a lease
    if how == "commit":  # exactly once, whatever was killed
        assert await kit.things.effects() == ids
    else:  # at least once
        rows = await kit.things.fetch("SELECT DISTINCT id FROM wharfd.effects WHERE by LIKE '% ended'")
        assert sorted(row[0] for row in rows) == ids
    endings = await kit.things.fetch("SELECT id FROM wharfd.endings ORDER BY id")
    assert [row[0] for row in endings] == ids


async def test_a_frozen_worker_is_fenced_when_it_thaws(kit, database_settings):
    (key,) = await kit.things.add()

    async def handle(ctx, job):
        assert job.attempt == 2
        async with job.commit() as tx:
            await tx.execute(kit.EFFECT, job.row.id, "other")

    async with worker(database_settings, "frozen", "long", 0.6) as process:
        # Frozen while the handler works: the row goes to somebody else.
        await read_until(process, 1)
        process.send_signal(signal.SIGSTOP)
        assert (await kit.things.get(key))["state"] == "running"
        async with kit.work(handle, lease_seconds=0.6, retry=PATIENT):
            assert await kit.settled() == {"done": 1}
        done = await kit.things.get(key)
        process.send_signal(signal.SIGCONT)
        # It goes on and works something else; the first row stays as the other one left it.
        await kit.things.add()
        await kit.settled()
        await read_until(process, 1)
    assert await kit.things.get(key) == done
    assert (
        await kit.things.fetch("SELECT id, count(*) FROM wharfd.endings GROUP BY id HAVING count(*) > 1")
        == []
    )


async def test_rows_of_a_worker_killed_while_stuck_come_back_within_a_lease(kit, database_settings):
    await kit.things.add(4)

    async def handle(ctx, job):
        assert job.attempt == 2

    async with worker(database_settings, "one", "stuck") as process:
        await read_until(process, 4)
        process.send_signal(signal.SIGKILL)
    began = trio.current_time()
    async with kit.work(handle, lease_seconds=1.0):
        assert await kit.settled() == {"done": 4}
    assert trio.current_time() - began < 60


async def test_cut_connections_are_ridden_out(kit, postgres, database_settings):
    ids = await kit.things.add(1500)
    database = database_settings.url.partition("@/")[2].partition("?")[0]

    async def handle(ctx, job):
        async with job.commit() as tx:
            await tx.execute(kit.EFFECT, job.row.id, "")

    async def cut():
        for _ in range(5):
            await trio.sleep(0.15)
            await trio.to_thread.run_sync(
                postgres.psql,
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database}' AND usename = 'wharfd_app'",
            )

    async def done():
        try:
            return await kit.things.states() == {"done": 1500}
        except DatabaseUnavailable:
            return False

    async with (
        kit.work(handle, concurrency=8, lease_seconds=1.5, retry=PATIENT),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(cut)
        await kit.wait_for(done, 60)
    assert await kit.things.effects() == ids
    assert await kit.things.fetch("SELECT max(attempts) <= 5 FROM wharfd.things") == [(True,)]
