"""The endpoints in the old shapes: jobs, reports, conflicts, lists, caches, owners, the command."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re

import pytest
import trio

import wharfd_backfill
from wharfd import Client, WharfdError
from wharfd.contracts.access import AUTHENTICATOR, Identity
from wharfd.db import sql
from wharfd.declare import Provides
from wharfd.hookspecs import hookimpl
from wharfd_backfill import store, watching
from wharfd_backfill.commands import COMMANDS

PATH = "/api/v1/monitoring/backfill"
ALL = frozenset({"backfill:read", "backfill:write"})
CALLERS = {
    "acme": Identity("key:acme", "key", owner="acme", scopes=ALL),
    "other": Identity("key:other", "key", owner="other", scopes=ALL),
    "reader": Identity("key:reader", "key", owner="acme", scopes=frozenset({"backfill:read"})),
}
OLD_SHAPE = {
    "id", "job_type", "start_block", "end_block", "current_block", "status", "progress_percentage",
    "estimated_completion", "error_message", "started_at", "completed_at", "created_by",
}  # fmt: skip
AGE = sql("test.age", "UPDATE backfill.jobs SET reported_at = now() - interval '1 hour' WHERE id = $1")
FILL = sql(
    "test.fill",
    """INSERT INTO backfill.jobs (owner, job_type, start_block, end_block, current_block, status, started_at)
    SELECT 'o' || n % 20, 't' || n % 10, 0, 9, 0, (ARRAY['running', 'completed', 'failed', 'paused'])[1 + n % 4],
      now() - n * interval '1 minute' FROM generate_series(1, 8000) n""",
)
LOGGED = re.compile(r"(\x1b\[\d+m)*(20\d\d-|\[(\x1b\[\d+m)*(debug|info|warning|error) )")
EVENTS = sql("test.events", "SELECT type FROM wharfd.events ORDER BY id")


class Callers:
    """A plugin that knows the callers of these tests."""

    __name__ = "callers"

    @hookimpl
    def register_services(self):
        class Tokens:
            async def authenticate(self, credentials):
                return CALLERS.get(credentials.bearer or "")

            async def observe(self, identity, *, endpoint, status, seconds):
                pass

        return [Provides(AUTHENTICATOR, lambda ctx: Tokens())]


@pytest.fixture
async def d(daemon):
    async with daemon(plugins={"backfill": wharfd_backfill, "callers": Callers()}) as running:
        yield running


async def start(d, expect=200, token="", **values):
    body = {"job_type": "blocks", "start_block": 100, "end_block": 200} | values
    answer = await d.post(f"{PATH}/start", body, token=token)
    assert answer.status == expect, answer.body
    return answer.json()


async def report(d, job, expect=200, token="", **values):
    answer = await d.post(f"{PATH}/progress?job_id={job}", values, token=token)
    assert answer.status == expect, answer.body
    return answer.json()


async def test_a_job_from_start_to_end(d):
    job = await start(d, created_by="night")
    assert set(job) >= OLD_SHAPE
    assert (job["status"], job["progress_percentage"], job["current_block"], job["created_by"]) == (
        "running", 0.0, 100, "night",
    )  # fmt: skip
    assert job["version"] == 1
    moved = await report(d, job["id"], current_block=150, version=1)
    assert (moved["progress_percentage"], moved["version"], moved["current_block"]) == (50.0, 2, 150)
    assert moved["estimated_completion"] is not None
    assert (await d.get(f"{PATH}/{job['id']}")).json() == moved
    ended = await report(d, job["id"], status="completed")
    assert (ended["progress_percentage"], ended["current_block"]) == (100.0, 200)
    assert ended["completed_at"] is not None
    await report(d, job["id"], 409, status="running")
    assert await report(d, job["id"], status="completed") == ended
    assert [row["type"] for row in await d.db.fetch(EVENTS)] == ["backfill.started", "backfill.completed"]


async def test_what_is_refused(d):
    await start(d, 400, start_block=200, end_block=100)
    await start(d, 422, start_block=-1)
    await start(d, 422, job_type="")
    await start(d, 422, job_type="a\x00b")
    await start(d, 422, start_block="1")
    job = (await start(d))["id"]
    for status, values in (
        (400, {"current_block": 201}),
        (400, {"current_block": 1}),
        (400, {"progress_percentage": 101.0}),
        (422, {"status": "done"}),
        (422, {"current_block": "x"}),
    ):
        problem = await report(d, job, status, **values)
        assert problem["detail"]
    for unknown in ("nonsense", "6f0e9c4e-8d38-4d0f-9a53-3c3f5d0f0a11"):
        await report(d, unknown, 404, current_block=1)
        assert (await d.get(f"{PATH}/{unknown}")).status == 404
    assert (await d.post(f"{PATH}/progress", {})).status == 422


async def test_reports_that_conflict(d):
    job = (await start(d))["id"]
    await report(d, job, current_block=150, version=1)
    problem = await report(d, job, 409, current_block=160, version=1)
    assert (problem["version"], problem["current_block"]) == (2, 150)
    problem = await report(d, job, 409, current_block=149)
    assert "does not go back" in problem["detail"]
    await report(d, job, current_block=150)
    statuses = []

    async def race(block):
        answer = await d.post(f"{PATH}/progress?job_id={job}", {"current_block": block, "version": 3})
        statuses.append(answer.status)

    async with trio.open_nursery() as nursery:
        for block in range(160, 168):
            nursery.start_soon(race, block)
    assert sorted(statuses) == [200] + [409] * 7
    assert (await d.get(f"{PATH}/{job}")).json()["version"] == 4


async def test_lists(d):
    jobs = [(await start(d, job_type=f"t{n % 2}"))["id"] for n in range(5)]
    await report(d, jobs[0], status="failed", error_message="boom")
    listed = (await d.get(f"{PATH}/status")).json()
    assert [job["id"] for job in listed] == jobs[::-1]
    found = (await d.get(f"{PATH}/status?status=failed")).json()
    assert [(job["id"], job["error_message"]) for job in found] == [(jobs[0], "boom")]
    found = (await d.get(f"{PATH}/status?job_type=t1&limit=1&offset=1")).json()
    assert [job["id"] for job in found] == [jobs[1]]
    middle = listed[2]["started_at"]
    for query, wanted in (("started_after", jobs[:1:-1]), ("started_before", jobs[1::-1])):
        found = (await d.get(f"{PATH}/status?{query}={middle}")).json()
        assert [job["id"] for job in found] == wanted
    for query in ("limit=0", "limit=1001", "offset=-1", "status=gone", "started_after=yesterday"):
        assert (await d.get(f"{PATH}/status?{query}")).status == 422


async def test_answers_are_kept_and_thrown_away(d):
    job = (await start(d))["id"]
    for _ in range(3):
        await d.get(f"{PATH}/{job}")
        await d.get(f"{PATH}/status")
    names = d.context("backfill").cache.statistics().names
    kept = {name.rpartition(".")[2]: counted for name, counted in names.items()}
    assert kept["job"].local_hits >= 2
    assert kept["jobs"].local_hits >= 2
    await report(d, job, current_block=170)
    assert (await d.get(f"{PATH}/{job}")).json()["current_block"] == 170
    assert (await d.get(f"{PATH}/status")).json()[0]["current_block"] == 170


async def test_a_job_that_is_not_heard_of(d):
    job, fresh = (await start(d))["id"], (await start(d))["id"]
    await d.db.execute(AGE, job)
    assert [j["id"] for j in (await d.get(f"{PATH}/status?stale=true")).json()] == [job]
    listed = {j["id"]: j["stale"] for j in (await d.get(f"{PATH}/status")).json()}
    assert listed == {job: True, fresh: False}
    findings = await watching.find_stale(d.context("backfill"))
    assert [finding.key for finding in findings] == [job]
    await report(d, job, current_block=101)
    assert (await d.get(f"{PATH}/status?stale=true")).json() == []


async def test_owners(d):
    mine = (await start(d, token="acme"))["id"]
    yours = (await start(d, token="other"))["id"]
    assert [j["id"] for j in (await d.get(f"{PATH}/status", token="acme")).json()] == [mine]
    assert (await d.get(f"{PATH}/{mine}", token="reader")).status == 200
    assert (await d.get(f"{PATH}/{mine}", token="other")).status == 404
    await report(d, mine, 404, token="other", current_block=150)
    await report(d, mine, 403, token="reader", current_block=150)
    await start(d, 403, token="reader")
    assert (await d.get(f"{PATH}/status", token=None)).status == 401
    assert [j["id"] for j in (await d.get(f"{PATH}/status")).json()] == [yours, mine]
    assert (await d.get(f"{PATH}/status?stale=true", token="acme")).json() == []


ALWAYS = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


async def test_every_list_has_an_index(d):
    await d.db.owner.execute(FILL)
    await d.db.owner.execute(sql("test.analyze", "ANALYZE backfill.jobs"))
    for flags, statement in store.LISTS.items():
        values = [value for value, wanted in zip(("o3", "failed", "t3"), flags, strict=True) if wanted]
        plan = await d.db.explain(statement, 10, 0, *ALWAYS, *values)
        assert "jobs_by_" in plan, (statement.name, plan)
        assert "Seq Scan" not in plan, (statement.name, plan)


async def test_the_command(d, capsys):
    (command,) = COMMANDS

    async def run(*words):
        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true")
        command.configure(parser)
        arguments = parser.parse_args(["--json", *words])
        capsys.readouterr()
        await trio.to_thread.run_sync(command.run, arguments, Client(d.api, d.token))
        lines = capsys.readouterr().out.splitlines()  # without what the daemon logs meanwhile
        return json.loads("".join(line for line in lines if not LOGGED.match(line)))

    job = (await run("start", "blocks", "1", "10"))["id"]
    assert (await run("pause", job))["status"] == "paused"
    assert (await run("resume", job))["status"] == "running"
    assert (await run("fail", job, "--reason", "gone"))["error_message"] == "gone"
    assert [j["id"] for j in await run("list", "--status", "failed")] == [job]
    assert await run("list", "--stale") == []
    assert (await run("show", job))["status"] == "failed"
    with pytest.raises(WharfdError, match="cannot become"):
        await run("pause", job)
