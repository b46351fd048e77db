"""The core's own endpoints over a real daemon."""

from wharfd import IngestRoute, Route
from wharfd.contracts.access import Identity


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
READS = {"/api/v1/archive/query", "/api/v1/integrations/verify"}
# The page that signs in, and what it looks like.
OPEN_PAGES = {"/console/login", "/console/static/{name}"}


async def test_nothing_but_health_and_ingest_is_open_and_an_operator_only_reads(daemon):
    async with daemon(config=ALL) as d:
        plugins = d.context("console").plugins
        routes = plugins.declared(Route)
        assert len(routes) > 150
        assert {route.path for _, route in routes if route.scope is None} == OPEN_PAGES
        assert {
            route.path
            for _, route in routes
            if route.method != "GET" and route.scope and Identity("operator", "operator").may(route.scope)
        } == READS
        document = (await d.get("/openapi.json")).json()
        ingest = {path for _, one in plugins.declared(IngestRoute) for path in one.paths}
        for path, methods in document["paths"].items():
            for method in methods:
                if method not in ("get", "post", "put", "patch", "delete") or path.startswith("/health"):
                    continue
                if (method, path) in {("post", "/api/v1/session"), ("get", "/docs")}:
                    continue  # signing in, and the empty page that signs in to show the description
                if method == "post" and path in ingest:
                    continue  # opened by the provider's signature
                answer = await d.request(method.upper(), path.replace("{", "").replace("}", ""), token=None)
                assert answer.status == 401, f"{method} {path} is open: {answer.status}"
        policies = (await d.get("/api/v1/retention/policies")).json()["policies"]
        assert {one["table"]: one["keep_days"] for one in policies}["wharfd.audit"] == 400


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
        await d.running.machinery.audit.seal_pending()
        assert (await d.get("/api/v1/audit/verify")).json()["holds"] is True


async def test_the_doctor_answers_over_the_api(daemon):
    async with daemon() as d:
        findings = (await d.get("/api/v1/doctor")).json()["findings"]
    assert {"roles", "clock", "durability"} <= {finding["check"] for finding in findings}


def test_an_operator_reads_and_changes_nothing():
    operator = Identity("operator", "operator")
    assert operator.may("system:read")
    assert not operator.may("system:write")
