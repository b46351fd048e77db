"""Daemons that are really killed in the middle of a batch: every order exactly once, and counts that fit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import wharfd_orders
from wharfd.db import sql
from wharfd_orders.store import tally

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("worker.py")
ORDERS = 6000
LEDGER = sql("test.ledger", "SELECT count(*) AS n, count(DISTINCT idx) AS distinct FROM orders.orders")
EVENTS = sql(
    "test.events",
    """SELECT count(*) AS n, count(DISTINCT data->>'index') AS distinct FROM wharfd.events
    WHERE type = 'order.completed'""",
)
OVER = sql("test.over", "SELECT count(*) FROM wharfd.events WHERE type = 'batch.completed'")


@asynccontextmanager
async def worker(settings, folder, config):
    process = await trio.lowlevel.open_process(
        [sys.executable, str(WORKER), settings.url, settings.owner_url, str(folder), config],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        with trio.fail_after(60):
            seen = b""
            while b"ready" not in seen:
                part = await process.stdout.receive_some(4096)
                assert part, "the worker ended by itself"
                seen += part
        yield process
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


async def done(orders, batch):
    return (await orders.get(f"/{batch}/progress"))["succeeded"]


async def test_killed_daemons_lose_nothing_and_do_nothing_twice(daemon, kit, tmp_path):
    # This daemon takes the batch in and finishes it at the end; most of it is worked by daemons that are killed.
    config = 'lease = "1s"\nledger_batch = 40\nledger_workers = 2\nattempts = 50'
    async with daemon(plugins={"orders": wharfd_orders}, config=f"[plugins.orders]\n{config}\n") as d:
        orders = kit.Orders(d)
        batch = (await orders.send(kit.lines(ORDERS), "?maxPerSecond=2500"))["batchId"]
        for kill in range(3):
            folder = tmp_path / f"worker-{kill}"
            folder.mkdir(mode=0o700)
            # Daemons on one database share the master key.
            shutil.copy(d.running.machinery.state.master_key, folder / "master.key")
            async with worker(d.settings, folder, config) as process:
                reached = await done(orders, batch) + 300

                async def far_enough(reached=reached):
                    return await done(orders, batch) >= min(reached, ORDERS)

                await kit.until(far_enough)
                process.send_signal(signal.SIGKILL)
        view = await orders.finished(batch, seconds=40)
        assert (view["status"], view["succeeded"], view["failed"]) == ("completed", ORDERS, 0)
        for statement in (LEDGER, EVENTS):
            assert tuple(await d.db.fetchrow(statement)) == (ORDERS, ORDERS)
        assert await d.db.fetchval(OVER) == 1
        number = await d.db.fetchval(sql("test.number", "SELECT number FROM orders.batches"))
        shown, counted = await tally.count(d.db, number), await tally.recount(d.db, number)
        assert dict(shown.rows) == dict(counted.rows) == {"done": ORDERS}
        assert (await orders.get(f"/{batch}/verify"))["agrees"] is True
