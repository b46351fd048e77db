"""kill -9 of a sender between every two steps: nothing is lost, nothing is stuck, and what is unknown says so."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

pytestmark = pytest.mark.slow

PROCESS = Path(__file__).with_name("sender_process.py")
EVENTS = 12
EXPIRE = "UPDATE webhooks.deliveries SET lease_until = now() - interval '1 second' WHERE state = 'running'"
EXPIRE_INBOX = "UPDATE wharfd.inbox SET lease_until = now() - interval '1 second' WHERE state = 'running'"


def dsn(secret):
    return secret if isinstance(secret, str) else secret.reveal()


async def crash(database_settings, tmp_path, point, after):
    """Run a sender until it has killed itself."""
    command = [
        sys.executable,
        str(PROCESS),
        dsn(database_settings.url),
        dsn(database_settings.owner_url),
        str(tmp_path / "master.key"),
        point,
        str(after),
    ]
    with trio.fail_after(60):
        done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
    assert done.returncode == -9, done.stderr.decode()[-2000:]


async def test_killed_at_every_point(opened, database_settings, tmp_path, receiver):
    async with opened(work=False) as house:
        twice = await house.endpoint(f"{receiver.url}/twice")
        once = await house.endpoint(f"{receiver.url}/once", at_most_once=True)
        ids = await house.publish(*(house.created(f"o{i}") for i in range(EVENTS)))
        for point, after in (("claimed", 0), ("attempt_written", 0), ("sent", 2), ("result_written", 1)):
            await crash(database_settings, tmp_path, point, after)
            await house.set(EXPIRE)
            await house.set(EXPIRE_INBOX)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: house.engine.run_queues(
                    house.queues, house.ctx, stop=house.stop, task_status=task_status
                )
            )
            await house.settled(2 * EVENTS, 20)
            house.stop.set()
        attempts = await house.attempts()
        assert {a["outcome"] for a in attempts} <= {"delivered", "unknown"}
        unknown = {a["delivery_id"] for a in attempts if a["outcome"] == "unknown"}
        assert unknown, "a crash between send and record leaves an unknown outcome"
        assert len({(a["delivery_id"], a["number"]) for a in attempts}) == len(attempts)

        received = Counter(r.header("webhook-id") for r in receiver.requests if r.path == "/twice")
        rows = await house.deliveries(twice)
        assert [row["state"] for row in rows] == ["done"] * EVENTS
        assert set(received) == set(ids)

        received = Counter(r.header("webhook-id") for r in receiver.requests if r.path == "/once")
        rows = await house.deliveries(once)
        assert max(received.values(), default=1) == 1
        buried = [row for row in rows if row["state"] == "buried"]
        assert {row["id"] for row in buried} == unknown & {row["id"] for row in rows}
        assert all("at most once" in row["last_error"] for row in buried)
        assert len(rows) == EVENTS
        assert {row["state"] for row in rows} <= {"done", "buried"}
