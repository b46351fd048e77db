"""Health: live asks nothing, ready runs every check in its own time, plugins come before their checks."""

from __future__ import annotations

import sys

import structlog
import trio
from structlog.testing import capture_logs

from wharfd.declare import Health, HealthCheck
from wharfd.health import BoundCheck, HealthBoard
from wharfd.testing.api import serve_routes

LOG = structlog.get_logger()


async def well(ctx):
    return Health("ok", detail={"connections": 3})


async def weak(ctx):
    return Health("degraded", "replica lags")


async def dead(ctx):
    return Health("down", "refused")


async def crash(ctx):
    raise RuntimeError("password=hunter2")


async def leave(ctx):
    sys.exit(3)


async def hang(ctx):
    await trio.sleep_forever()


def bound(check, *, name="probe", plugin="shop", critical=False, timeout=2.0, context=lambda: "ctx"):
    return BoundCheck(
        HealthCheck(name=name, check=check, critical=critical, timeout_seconds=timeout), plugin, context
    )


def board(*checks, states=None):
    return HealthBoard(checks, plugin_states=lambda: states or {}, log=LOG)


async def test_all_well():
    report = await board(bound(well, critical=True)).report()
    assert (report.status, report.ready) == ("ok", True)
    assert report.checks[0].detail == {"connections": 3}


async def test_degraded_is_ready_and_says_why():
    report = await board(bound(weak), bound(dead, name="other")).report()
    assert (report.status, report.ready) == ("degraded", True)
    assert [(check.name, check.state, check.reason) for check in report.checks] == [
        ("other", "down", "refused"),
        ("probe", "degraded", "replica lags"),
    ]


async def test_a_critical_check_that_is_down_is_not_ready():
    report = await board(bound(well), bound(dead, critical=True)).report()
    assert (report.status, report.ready) == ("down", False)


async def test_a_check_that_crashes_is_down_and_its_text_stays_in_the_log():
    for check in (crash, leave):
        with capture_logs() as logs:
            report = await board(bound(check)).report()
        assert report.checks[0].state == "down"
        assert "hunter2" not in report.checks[0].reason
        assert [entry["event"] for entry in logs] == ["health_check_failed"]


async def test_checks_run_at_once_each_in_its_own_time(autojump_clock):
    slow = [bound(hang, name=f"slow_{n}", timeout=2) for n in range(20)]
    started = trio.current_time()
    report = await board(*slow, bound(well)).report()
    assert trio.current_time() - started == 2
    assert {check.reason for check in report.checks} == {"", "no answer within 2 s"}


async def test_a_plugin_that_is_not_running_comes_before_its_checks():
    asked = []

    async def check(ctx):
        asked.append(ctx)
        return Health("down")

    states = {"shop": ("quarantined", "5 crashes in 10 minutes"), "other": ("running", "")}
    report = await board(bound(check, critical=True), states=states).report()
    assert (report.status, report.ready) == ("degraded", True)
    assert report.checks[0].reason == "the plugin shop is quarantined: 5 crashes in 10 minutes"
    assert report.troubles() == ["the plugin shop is quarantined: 5 crashes in 10 minutes"]
    assert [(plugin.name, plugin.state) for plugin in report.plugins] == [
        ("other", "running"),
        ("shop", "quarantined"),
    ]
    assert asked == []


async def test_a_plugin_without_checks_that_does_not_run_is_a_trouble_with_a_name():
    report = await board(bound(well), states={"shop": ("running", ""), "hello": ("failed", "")}).report()
    assert (report.status, report.troubles()) == ("degraded", ["the plugin hello is failed"])


async def test_a_report_is_good_for_a_second_and_made_once_for_all_who_ask(autojump_clock):
    runs = 0

    async def check(ctx):
        nonlocal runs
        runs += 1
        await trio.sleep(0.5)
        return Health("ok")

    one = board(bound(check))
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one.report)
    assert runs == 1
    await trio.sleep(0.9)
    await one.report()
    assert runs == 1
    await trio.sleep(0.2)
    await one.report()
    assert runs == 2


async def test_a_report_from_before_a_plugin_started_is_not_kept(autojump_clock):
    states, contexts = {}, {}
    one = HealthBoard(
        [bound(well, context=lambda: contexts.get("shop"))], plugin_states=lambda: dict(states), log=LOG
    )
    assert (await one.report()).troubles() == ["shop.probe is degraded: the plugin shop is not running"]
    states["shop"], contexts["shop"] = ("running", ""), "ctx"
    assert (await one.report()).status == "ok"
    states["shop"] = ("restarting", "it crashed")
    assert (await one.report()).status == "degraded"


async def test_live_asks_nothing():
    async with serve_routes(checks=[bound(hang, critical=True)]) as api:
        answer = await api.get("/health/live", token=None)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_ready_is_terse_for_strangers_and_full_for_the_admin():
    async with serve_routes(checks=[bound(dead, critical=True)]) as api:
        stranger, admin = await api.get("/health/ready", token=None), await api.get("/health/ready")
        wrong = await api.get("/health/ready", token="wrong")
    assert (stranger.status, stranger.json()) == (503, {"status": "down"})
    assert stranger.headers["retry-after"] == "5"
    assert wrong.json() == {"status": "down"}
    assert admin.json()["checks"][0]["reason"] == "refused"


async def test_a_server_that_stops_is_not_ready():
    one = board(bound(well))
    assert (await one.report()).ready
    one.stopping = True
    report = await one.report()
    assert (report.status, report.ready) == ("stopping", False)
