"""The core's own schedules run, and do what they say."""

import asyncpg
import pytest

from wharfd import upkeep
from wharfd.db import sql
from wharfd.doctor import examine


@pytest.mark.parametrize("name", [schedule.name for schedule in upkeep.SCHEDULES])
async def test_a_schedule_of_the_core_fires_and_ends_well(daemon, name):
    async with daemon() as d:
        assert await d.running.machinery.scheduler.run_now(f"core.{name}", actor="test")
        await d.drain("core.schedules")
        (run,) = await d.running.machinery.scheduler.runs(f"core.{name}")
        assert (run.outcome, run.error) == ("done", None)


async def test_expired_idempotency_keys_are_forgotten(daemon):
    insert = sql(
        "test.key",
        """INSERT INTO wharfd.schedule_runs (schedule, planned_at, by_hand, node, started_at, finished_at, outcome)
        VALUES ('x.y', now(), false, 'n', now() - interval '91 days', now() - interval '91 days', 'done')""",
    )
    async with daemon() as d:
        await d.db.execute(insert)
        await upkeep.forget_hints(
            upkeep.Upkeep(d.running.machinery, d.running.lives.registry, months_ahead=3)
        )
        assert not await d.running.machinery.scheduler.runs("x.y")


async def test_the_doctor_finds_a_fresh_daemon_well(daemon):
    async with daemon() as d:
        findings = await examine(
            d.running.machinery, d.running.lives.registry, d.running.reloader.configuration.core
        )
    failed = [one for one in findings if one.state == "fail"]
    assert [one.check for one in failed] == ["durability"]  # the test cluster runs without fsync
    assert {"roles", "server", "clock", "migrations", "partitions", "redis", "disk", "fsync"} <= {
        one.check for one in findings
    }


_BROKEN = "CREATE UNIQUE INDEX CONCURRENTLY broken ON wharfd.maintenance_log (action)"


async def test_maintenance_is_logged_and_shown(daemon):
    async with daemon() as d:
        await d.running.machinery.scheduler.run_now("core.look_after_tables", actor="test")
        await d.drain("core.schedules")
        with pytest.raises(asyncpg.UniqueViolationError):  # twice "analyze": the index stays, invalid
            await d.db.owner.execute(sql("test.break", _BROKEN))
        ahead = sql(
            "test.newest",
            """SELECT format('DROP TABLE %s', max(inhrelid::regclass::text)) FROM pg_inherits
            WHERE inhparent = 'wharfd.events'::regclass""",
        )
        await d.db.owner.execute(sql("test.drop", await d.db.fetchval(ahead)))
        for name in ("look_after_tables", "make_months"):
            await d.running.machinery.scheduler.run_now(f"core.{name}", actor="test")
        await d.drain("core.schedules")
        shown = (await d.get("/api/database/migrate")).json()["data"]["maintenance"]
    done = {(one["action"], one["target"], one["outcome"]) for one in shown}
    assert ("analyze", "wharfd.jobs", "done") in done
    assert ("invalid_index_found", "wharfd.broken", "done") in done
    assert ("reindex", "wharfd.broken", "failed") in done  # it cannot be mended, and that is said
    assert any(action == "make_partition" and "wharfd.events_y" in target for action, target, _ in done)


async def test_a_legal_hold_stops_the_upkeep_of_the_core_too(daemon):
    insert = sql(
        "test.runs",
        """INSERT INTO wharfd.schedule_runs (schedule, planned_at, by_hand, node, started_at, finished_at, outcome)
        VALUES ('x.y', now(), false, 'n', now() - interval '91 days', now() - interval '91 days', 'done')""",
    )
    hold = sql(
        "test.hold",
        "INSERT INTO wharfd.holds (id, source, reason, made_by) VALUES ('h', 'wharfd.schedule_runs', 'case', 'me')",
    )
    async with daemon() as d:
        await d.db.execute(insert)
        await d.db.execute(hold)
        hints = upkeep.Upkeep(d.running.machinery, d.running.lives.registry, months_ahead=3)
        await upkeep.forget_hints(hints)
        assert await d.running.machinery.scheduler.runs("x.y")
        await d.db.execute(sql("test.release", "UPDATE wharfd.holds SET released_at = now()"))
        await upkeep.forget_hints(hints)
        assert not await d.running.machinery.scheduler.runs("x.y")
