"""The core's own schedules run, and do what they say."""

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
