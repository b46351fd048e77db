"""The core's own endpoints over a real daemon."""

from types import SimpleNamespace

import pytest
import trio

from wharfd import Route
from wharfd.config import load_configuration
from wharfd.contracts.access import Identity
from wharfd.core_routes.audit import VerifyQuery, verify
from wharfd.keeping import CORE_RETENTION
from wharfd.loading import PluginHost, find_plugins
from wharfd.registry import collect


async def test_status_says_where_and_how(daemon):
    async with daemon() as d:
        status = (await d.get("/api/v1/status")).json()
    assert (status["status"], status["ready"]) == ("ok", True)
    assert status["api"] == d.api
    assert status["ingest"] == d.ingest


ALL = "".join(
    f"[plugins.{name}]\n"
    for name in (
        "alerts", "backfill", "backups", "console", "feedback", "integrations", "metrics", "mint", "netbanx",
        "orders", "retention", "webhooks",
    )
)  # fmt: skip
# What changes nothing although it is no GET: an operator may do it.
READS = {"/api/v1/archive/query", "/api/v1/archive/{id}/verify", "/api/v1/integrations/verify"}
# The page that signs in, and what it looks like.
OPEN_PAGES = {"/console/login", "/console/static/{name}"}


@pytest.fixture(scope="module")
def declared():
    """What all plugins together declare."""
    configuration = load_configuration(ALL, {})
    found, problems = find_plugins(dict.fromkeys(configuration.enabled), None)
    host = PluginHost()
    for plugin in found:
        host.add(plugin)
    registry, wrong = collect(host, configuration)
    assert not problems
    assert not wrong
    return registry


def test_no_plugin_opens_a_door_and_an_operator_only_reads(declared):
    routes = [route for _, route in declared.of(Route)]
    assert len(routes) > 150
    assert {route.path for route in routes if route.scope is None} == OPEN_PAGES
    operator = Identity("operator", "operator")
    allowed = {r.path for r in routes if r.method != "GET" and r.scope is not None and operator.may(r.scope)}
    assert allowed == READS


def test_the_audit_is_kept_for_400_days():
    assert {rule.table: rule.keep.days for rule in CORE_RETENTION}["wharfd.audit"] == 400


async def test_nothing_but_health_is_open(daemon):
    async with daemon() as d:
        document = (await d.get("/openapi.json")).json()
        for path, methods in document["paths"].items():
            for method in methods:
                if method not in ("get", "post", "put", "patch", "delete") or path.startswith("/health"):
                    continue
                if (method, path) in {("post", "/api/v1/session"), ("get", "/docs")}:
                    continue  # signing in, and the empty page that signs in to show the description
                answer = await d.request(method.upper(), path.replace("{", "").replace("}", ""), token=None)
                assert answer.status == 401, f"{method} {path} is open: {answer.status}"


async def test_every_change_is_in_the_audit_log_and_the_chain_holds(daemon):
    async with daemon() as d:
        assert (await d.post("/api/v1/schedules/core.forget_hints/run")).status == 200
        assert (await d.post("/api/v1/work/core.schedules/pause")).status == 200
        assert (await d.post("/api/v1/work/core.schedules/resume")).status == 200
        entries = (await d.get("/api/v1/audit")).json()["items"]
        assert [(e["action"], e["subject"]) for e in entries] == [
            ("work.resumed", "core.schedules"),
            ("work.paused", "core.schedules"),
            ("schedule.run_now", "core.forget_hints"),
        ]
        page = (await d.get("/api/v1/audit?limit=1")).json()
        after = (await d.get(f"/api/v1/audit?limit=1&cursor={page['next_cursor']}")).json()
        assert after["items"][0]["action"] == "work.paused"
        with trio.fail_after(60):
            while await d.running.machinery.audit.head() is None:  # the daemon's own sealer may be at it
                await d.running.machinery.audit.seal_pending()
        verified = (await d.get("/api/v1/audit/verify")).json()
        assert verified["holds"] is True
        assert (await d.get(f"/api/v1/audit/verify?known={verified['head']}")).json()["holds"] is True
        broken = (await d.get(f"/api/v1/audit/verify?known=1:{'0' * 64}")).json()
        assert (broken["holds"], broken["head"]) == (False, None)
        for unknown in (f"0:{'0' * 64}", "9:00"):
            assert (await d.get(f"/api/v1/audit/verify?known={unknown}")).status == 422
        assert (await d.get("/api/v1/audit?since=2026-01-01T00:00:00")).status == 422


async def test_a_fault_inside_the_verification_is_no_fault_of_the_caller():
    async def fail(known):
        raise ValueError("a fault of ours")

    request = SimpleNamespace(query=VerifyQuery(known=f"1:{'0' * 64}"))
    with pytest.raises(ValueError, match="a fault of ours"):
        await verify(SimpleNamespace(audit=SimpleNamespace(verify=fail)), request)


async def test_the_doctor_answers_over_the_api(daemon):
    async with daemon() as d:
        findings = (await d.get("/api/v1/doctor")).json()["findings"]
    assert {"roles", "clock", "durability"} <= {finding["check"] for finding in findings}


def test_an_operator_reads_and_changes_nothing():
    operator = Identity("operator", "operator")
    assert operator.may("system:read")
    assert not operator.may("system:write")
