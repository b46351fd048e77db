"""Commits wait for the receiver, and never for one that is away or hangs."""

import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from wharfd_backups.engine.awaiting import RECEIVER, Awaiting
from wharfd_backups.model.wal import lsn_of

from .conftest import until

COMMIT = "INSERT INTO shop.orders DEFAULT VALUES"
RECEIVED = f"SELECT flush_lsn, sync_state FROM pg_stat_replication WHERE application_name = '{RECEIVER}'"


@asynccontextmanager
async def awaited(world):
    """A receiver that commits wait for, and what is logged about it."""
    said = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[said])
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), log, look_seconds=0.1)
    async with world.receiving(every=60.0, awaiting=awaiting):
        await until(lambda: awaiting.now)
        yield awaiting, said.entries


def receiver_of(world):
    """The process that receives the log of this world."""
    for folder in os.listdir("/proc"):
        try:
            words = Path("/proc", folder, "cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[0].endswith("pg_receivewal") and str(world.incoming) in words:
            return int(folder)
    return None


def reasons(entries):
    return [entry["reason"] for entry in entries if entry["event"] == "commits_wait_no_more"]


async def test_a_commit_ends_when_the_receiver_has_it(world):
    async with awaited(world):
        ((_, kind),) = await world.sql(RECEIVED, "superuser")
        assert kind == "sync"
        for _ in range(20):
            here = (await world.sql(f"{COMMIT}; SELECT pg_current_wal_insert_lsn()"))[0][0]
            ((there, _),) = await world.sql(RECEIVED, "superuser")
            assert lsn_of(there) >= lsn_of(here)
    assert await world.sql("SHOW synchronous_standby_names") == [[]]
    await world.sql(COMMIT)


async def test_nobody_waits_long_for_a_receiver_that_hangs_or_dies(world):
    async with awaited(world) as (awaiting, said):
        os.kill(receiver_of(world), signal.SIGSTOP)
        with trio.fail_after(30):
            await world.sql(COMMIT)
        await until(lambda: reasons(said) == ["the receiver is behind"])
        os.kill(receiver_of(world), signal.SIGCONT)
        await until(lambda: awaiting.now)
        os.kill(receiver_of(world), signal.SIGKILL)
        with trio.fail_after(30):
            await world.sql(COMMIT)
        await until(lambda: reasons(said)[1:] in (["the receiver ended"], ["the receiver is away"]))
        await until(lambda: awaiting.now)
        await world.sql(COMMIT)


async def test_a_standby_of_somebody_else_is_left_alone(world):
    said = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[said])
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), log, look_seconds=0.1)
    await world.sql("ALTER SYSTEM SET synchronous_standby_names = 'theirs'", "superuser")
    await world.sql("SELECT pg_reload_conf()", "superuser")
    async with world.receiving(awaiting=awaiting):
        await until(lambda: said.entries)
        assert not awaiting.now
    assert said.entries == [
        {
            "event": "commits_wait_for_others",
            "log_level": "warning",
            "synchronous_standby_names": "theirs",
        }
    ]
    assert await world.sql("SHOW synchronous_standby_names") == [["theirs"]]
