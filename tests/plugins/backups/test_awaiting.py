"""Commits wait for the receiver, and never for one that is away or hangs."""

import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from wharfd_backups.engine.awaiting import RECEIVER, Awaiting

from .conftest import until

COMMIT = "INSERT INTO shop.orders DEFAULT VALUES"
COUNT = "SELECT count(*) FROM shop.orders"
WAITING_AND_SEEN = f"""SELECT (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep')
 || ' ' || ({COUNT})"""
NAMES = "SELECT coalesce(nullif(current_setting('synchronous_standby_names'), ''), 'nobody')"


@asynccontextmanager
async def awaited(world, look_seconds=0.1):
    """A receiver that commits wait for, and what is logged about it."""
    said = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[said])
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), log, look_seconds=look_seconds)
    async with world.receiving(every=60.0, awaiting=awaiting):
        await until(lambda: awaiting.now)
        yield awaiting, said.entries


def process_of(world, program):
    """The process of a program that works for this world."""
    for folder in os.listdir("/proc"):
        try:
            words = Path("/proc", folder, "cmdline").read_text().split("\0")
        except OSError:
            continue
        if words[0].endswith(f"/{program}") and any(world.folder.name in word for word in words):
            return int(folder)
    return None


def receiver_of(world):
    return process_of(world, "pg_receivewal")


def reasons(entries):
    return [entry["reason"] for entry in entries if entry["event"] == "commits_do_not_wait"]


async def asked(world, question, role="superuser"):
    return await world.programs.value(world.server.dsn(role), question)


async def test_a_commit_ends_when_the_receiver_has_it(world):
    async with awaited(world, look_seconds=1.0):
        before = int(await asked(world, COUNT, "owner"))
        os.kill(receiver_of(world), signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.sql, COMMIT)
            with trio.fail_after(60):
                while await asked(world, WAITING_AND_SEEN) != f"1 {before}":
                    pass
            os.kill(receiver_of(world), signal.SIGCONT)
        assert int(await asked(world, COUNT, "owner")) == before + 1
    await world.sql(COMMIT)  # and afterwards for nobody


async def test_nobody_waits_long_for_a_receiver_that_hangs_or_dies(world):
    async with awaited(world) as (awaiting, said):
        os.kill(receiver_of(world), signal.SIGSTOP)
        with trio.fail_after(30):
            await world.sql(COMMIT)
        await until(lambda: "the receiver is behind" in reasons(said))
        os.kill(receiver_of(world), signal.SIGCONT)
        await until(lambda: awaiting.now)
        said.clear()
        os.kill(receiver_of(world), signal.SIGKILL)
        with trio.fail_after(30):
            await world.sql(COMMIT)
        await until(lambda: reasons(said))
        assert set(reasons(said)) <= {"the receiver ended", "the receiver is away"}
        await until(lambda: awaiting.now)
        await world.sql(COMMIT)


async def test_who_stops_lets_go_whatever_he_last_saw(world):
    """The psql that looks is gone, so nobody knows whether commits wait: they do, until the stop."""
    async with awaited(world, look_seconds=1.0) as (awaiting, said):
        os.kill(process_of(world, "psql"), signal.SIGKILL)
        await until(lambda: not awaiting.now)
        assert "cannot be asked" in reasons(said)[-1]
        assert await asked(world, NAMES) == RECEIVER
    assert await asked(world, NAMES) == "nobody"


async def test_what_an_earlier_life_has_left_is_taken_back(world):
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), structlog.get_logger())
    for names, left in ((RECEIVER, "nobody"), ("theirs", "theirs")):
        await world.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "superuser")
        await world.sql("SELECT pg_reload_conf()", "superuser")
        await awaiting.take_back()
        assert await asked(world, NAMES) == left


async def test_a_standby_of_somebody_else_is_left_alone(world):
    said = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[said])
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), log, look_seconds=0.1)
    await world.sql("ALTER SYSTEM SET synchronous_standby_names = 'theirs'", "superuser")
    await world.sql("SELECT pg_reload_conf()", "superuser")
    async with world.receiving(awaiting=awaiting):
        await until(lambda: awaiting.others)
        assert not awaiting.now
    assert reasons(said.entries) == ["commits wait for theirs"]
    assert await asked(world, NAMES) == "theirs"
