"""`wharfd bench`: honest latencies, a scratch schema that is gone afterwards, and the verdict on production."""

from __future__ import annotations

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.bench import Benches, Plan, Targets, Verdict, carry_out, scratch, validate
from wharfd.bench.histogram import Histogram
from wharfd.bench.openloop import offer
from wharfd.bench.plan import PREFIX, SUITES, figure
from wharfd.bench.suites import RUN
from wharfd.bench.table import COLUMNS, rows
from wharfd.cli.commands import bench as command
from wharfd.config import load_configuration
from wharfd.db import sql
from wharfd.doctor import Finding
from wharfd.errors import BenchBusy, BenchFailed

pytestmark = pytest.mark.slow

SCHEMAS = sql("test.schemas", "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)")
TINY = {"rounds": 1, "seconds": 0.1, "warm_seconds": 0.0, "rows": 200}


# -- the histogram -----------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.000001, 5000), min_size=1, max_size=300), st.floats(0.01, 1))
def test_a_percentile_is_within_one_percent_of_the_true_one_and_never_too_low(values, share):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    values.sort()
    true = values[max(0, -(-int(share * len(values) * 1e9) // 10**9) - 1)]
    found = histogram.percentile(share)
    assert found <= histogram.maximum == values[-1]
    assert found >= min(value for value in values) - 1e-6
    assert any(value - 2e-6 <= found <= value * 1.01 + 2e-6 for value in values)
    assert found >= true * 0.99 - 2e-6


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)))
def test_histograms_add_up_also_after_a_journey(left, right):
    one, two, both = Histogram(), Histogram(), Histogram()
    for value in left:
        one.add(value)
        both.add(value)
    for value in right:
        two.add(value)
        both.add(value)
    arrived = Histogram(two.slots(), two.maximum)
    one.merge(arrived)
    assert (one.slots(), one.count, one.maximum) == (both.slots(), both.count, both.maximum)


# -- the load ----------------------------------------------------------------------------------------------


async def test_a_stall_is_charged_to_everything_that_came_due_meanwhile(autojump_clock):
    free = trio.Event()

    async def stall(number):
        if number == 100:
            await trio.sleep(2)
            free.set()
        elif number > 100:
            await free.wait()

    measured = await offer(stall, rate=100, seconds=4, at_once=10)
    assert (measured.asked, measured.done, measured.failed) == (400, 400, 0)
    # Half of all operations came due during the stall; a closed loop would have seen one slow one.
    assert measured.histogram.percentile(0.75) == pytest.approx(1.0, abs=0.1)
    assert measured.maximum == pytest.approx(2.0, abs=0.05)


async def test_operations_that_fail_are_counted_and_named(autojump_clock):
    async def fail(number):
        if number % 2:
            raise BenchFailed("it broke")
        await trio.sleep(0.001)

    measured = await offer(fail, rate=50, seconds=1, at_once=4)
    assert (measured.asked, measured.done, measured.failed) == (50, 25, 25)
    assert measured.error == "BenchFailed: it broke"
    line = figure("query", "x", [measured], asked=50, p99_below_ms=1000)
    assert line.met is False
    assert line.note == "BenchFailed: it broke"


async def test_under_stress_the_next_begins_when_one_has_ended(autojump_clock):
    async def slow(number):
        await trio.sleep(0.1)

    measured = await offer(slow, rate=1, seconds=10, at_once=5, closed=True, total=100)
    assert measured.done == 100
    assert measured.rate == pytest.approx(50, rel=0.1)


# -- a run -------------------------------------------------------------------------------------------------


@pytest.fixture
def targets(database_settings):
    return Targets(url=database_settings.url, owner_url=database_settings.owner_url)


async def test_every_suite_measures_and_leaves_nothing_behind(db, targets):
    heard = []
    report = await carry_out(db, targets, Plan(**TINY), heard.append)
    assert report.problems == []
    assert {one.suite for one in report.figures} == set(SUITES)
    assert all(one.count > 0 and one.failed == 0 for one in report.figures), report.figures
    assert len(report.figures) == sum(measures for _, measures in RUN.values())
    assert [one.done for one in heard] == list(range(heard[0].total))
    assert report.machine["postgresql"]["version"]
    assert all(set(COLUMNS) == set(row) for row in rows(report))
    assert await db.fetch(SCHEMAS, PREFIX) == []
    assert not await db.fetchval(sql("test.rates", "SELECT EXISTS (SELECT FROM wharfd.queue_rates)"))


async def test_one_run_at_a_time_and_stopping_it_drops_its_schema(db, targets, nursery):
    benches = Benches(db, lambda: targets)
    nursery.start_soon(benches.run)
    status = benches.start(Plan(**TINY | {"suites": ("query",), "seconds": 500}))
    with pytest.raises(BenchBusy):
        benches.start(Plan(**TINY))
    with trio.fail_after(60):
        while status.progress is None or not await db.fetch(SCHEMAS, PREFIX):
            await trio.sleep(0.01)
        assert benches.stop()
        while status.state == "running":
            await trio.sleep(0.01)
    assert status.state == "stopped"
    assert await db.fetch(SCHEMAS, PREFIX) == []
    assert not benches.stop()
    nursery.cancel_scope.cancel()


async def test_a_database_that_cannot_be_reached_is_a_sentence(db, tmp_path):
    nowhere = Targets(url=f"postgresql://nobody@/nothing?host={tmp_path}")
    with pytest.raises(BenchFailed, match=r"\w"):
        await carry_out(db, nowhere, Plan(**TINY), lambda _: None)


async def test_what_a_dead_run_left_is_dropped_by_the_next_and_nothing_else(db):
    old, new = f"{PREFIX}20200101000000_abcdef", Plan().schema
    for name in (old, new, f"{PREFIX}mine"):
        await db.owner.execute(sql("test.make", f"CREATE SCHEMA {name}"))
    assert await scratch.drop_left_over(db) == [old]
    with pytest.raises(ValueError, match="not a scratch schema"):
        await scratch.drop(db, "wharfd")


# -- the verdict -------------------------------------------------------------------------------------------


class Plugin(msgspec.Struct):
    name: str
    state: str = "running"
    last_error: str | None = None


GOOD = """
[database]
url = "postgresql://wharfd@db/wharfd"
[secrets]
key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""
ALL = [Plugin("backups"), Plugin("retention"), Plugin("alerts")]


def judge(text=GOOD, *, findings=(), plugins=ALL, troubles=(), open_files=65536) -> Verdict:
    core = load_configuration(text, {}).core
    return validate(findings, core, plugins=plugins, troubles=troubles, open_files=open_files)


def test_a_daemon_without_fault_is_ready():
    verdict = judge(findings=[Finding("roles", "ok", "fine")])
    assert verdict.ready
    assert (verdict.failed, verdict.warned) == (0, 0), verdict.points


@pytest.mark.parametrize(
    ("changed", "check", "state"),
    [
        ({"findings": [Finding("durability", "fail", "fsync off")]}, "durability", "fail"),
        ({"text": GOOD + '[http]\nbind = "0.0.0.0:8470"'}, "API address", "fail"),
        ({"text": GOOD + '[ingest]\nbind = "[::]:8471"'}, "ingest address", "fail"),
        ({"plugins": [Plugin("alerts"), Plugin("retention")]}, "backups", "fail"),
        ({"plugins": [Plugin("alerts"), Plugin("backups")]}, "retention", "warn"),
        ({"plugins": [*ALL, Plugin("mint", "quarantined", "no key")]}, "plugin mint", "fail"),
        ({"troubles": ["core.database is down"]}, "health", "fail"),
        ({"text": GOOD + '[log]\nlevel = "debug"'}, "log", "warn"),
        ({"text": ""}, "database server", "warn"),
        ({"text": ""}, "secrets key", "warn"),
        ({"open_files": 1024}, "open files", "warn"),
    ],
)
def test_each_fault_is_a_point_with_a_reason(changed, check, state):
    verdict = judge(**changed)
    point = next(one for one in verdict.points if one.check == check)
    assert point.state == state
    assert point.reason
    assert verdict.ready is (state == "warn")


# -- the command and the endpoint --------------------------------------------------------------------------


def test_the_command_knows_the_suites():
    assert command.SUITES == SUITES


async def test_the_endpoint_tests_on_request_and_validates(daemon):
    path = "/api/database/test"
    async with daemon() as d:
        basic = (await d.get(path)).json()["data"]
        assert basic["passed"] is True
        assert basic["run"]["state"] == "none"
        order = {"testType": "stress", "config": {"suites": ["query"], "seconds": 0.1, "rows": 100}}
        assert (await d.post(path, order)).status == 202
        assert (await d.post(path, order)).status == 409
        with trio.fail_after(60):
            while (run := (await d.get(path)).json()["data"]["run"])["state"] == "running":
                await trio.sleep(0.05)
        assert run["state"] == "done", run
        assert {one["name"] for one in run["report"]["figures"]} >= {"a row by id"}
        assert "postgresql://" not in str(run)
        verdict = (await d.request("PUT", path, {"action": "validate"})).json()
        assert verdict["success"] is False
        assert "backups" in {one["check"] for one in verdict["data"]["points"] if one["state"] == "fail"}
        assert (await d.request("PUT", path, {"action": "guess"})).status == 422
        assert (await d.request("DELETE", path)).status == 404
