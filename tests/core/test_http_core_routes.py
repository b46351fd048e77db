"""The core's own endpoints over real HTTP, on a real PostgreSQL, work engine, scheduler and audit log."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from wharfd.audit import Audit
from wharfd.cache import Cache
from wharfd.core_routes import CoreSources, core_routes
from wharfd.core_routes.performance import times_of
from wharfd.db import sql
from wharfd.declare import Health, HealthCheck, Migrations, Schedule, WorkQueue
from wharfd.health import BoundCheck, HealthBoard
from wharfd.metrics import Metrics, quantile
from wharfd.schedule import Scheduler
from wharfd.testing.api import serve_routes
from wharfd.work import WorkEngine

TABLE = sql(
    "test.table",
    """CREATE TABLE wharfd.things (
         id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL DEFAULT 'ready',
         priority smallint NOT NULL DEFAULT 100, due_at timestamptz NOT NULL DEFAULT now(),
         attempts integer NOT NULL DEFAULT 0, claim bigint, lease_until timestamptz, last_error text,
         history jsonb, finished_at timestamptz);
       CREATE INDEX ON wharfd.things (priority, due_at) WHERE state = 'ready';
       CREATE INDEX ON wharfd.things (id) WHERE state = 'running';
       CREATE INDEX ON wharfd.things (state, finished_at) WHERE state IN ('buried', 'held')""",
)
BURIED = sql(
    "test.buried",
    """INSERT INTO wharfd.things (state, attempts, last_error, finished_at)
       SELECT 'buried', 3, 'no ' || n, now() - make_interval(secs => n) FROM generate_series(1, $1::int) n""",
)
AUDIT = sql("test.audit", "SELECT actor, action, subject, detail FROM wharfd.audit ORDER BY id")


class Thing(msgspec.Struct):
    id: int


@dataclass
class Plugin:
    """A plugin as the supervisor shows it."""

    name: str
    state: str
    last_error: str | None = None
    origin: str = "wharfd"
    since: float = 3.25
    restarts: int = 2
    retry_in_seconds: float | None = None
    resumed: int = 0
    ended: trio.Event = field(default_factory=trio.Event)

    def resume(self):
        self.resumed += 1


class Book:
    def __init__(self, *plugins):
        self.plugins = {plugin.name: plugin for plugin in plugins}

    def statuses(self):
        return list(self.plugins.values())


async def weak(ctx):
    return Health("degraded", "replica lags")


async def nothing(ctx, job=None):
    return


@asynccontextmanager
async def serving(db, tmp_path, *, plugins=(), declared=()):
    audit = Audit(db)

    async def record(tx, actor, action, subject, detail):
        await audit.record(tx, actor=actor, action=action, subject=subject, detail=detail)

    engine = WorkEngine(db, node="one", buried=lambda *_: None, audit=record)
    metrics = Metrics(process=False)
    log = structlog.get_logger()
    check = BoundCheck(HealthCheck(name="replica", check=weak), "core", object)
    sources = CoreSources(
        node="one",
        state_dir=tmp_path,
        db=db,
        declared=lambda: declared,
        work=engine.work,
        schedules=Scheduler(db, engine, record),
        plugins=Book(*plugins),
        health=HealthBoard([check], plugin_states=dict, log=log),
        metrics=metrics,
        cache=Cache(None, namespace="test"),
        audit=audit,
        addresses=lambda: {"api": ["http://127.0.0.1:8470"], "ingest": ["http://127.0.0.1:8471"]},
        ingest=lambda: {"queued_rows": 0},
    )
    async with serve_routes(core_routes(sources), db=db, metrics=metrics) as api:
        yield SimpleNamespace(api=api, engine=engine, sources=sources)


async def audited(db):
    return [tuple(row)[:3] for row in await db.fetch(AUDIT)]


async def test_what_is_applied_and_pending(db, tmp_path):
    async with serving(db, tmp_path) as at:
        answer = (await at.api.get("/api/database/migrate")).json()
    assert answer["success"] is True
    assert answer["timestamp"].endswith("Z")
    state = answer["data"]
    assert "0003_http" in [one["name"] for one in state["history"]]
    assert state["history"][0]["plugin"] == "wharfd"
    assert state["history"][0]["milliseconds"] > 0


async def test_migrating_and_maintaining_is_for_those_who_may_write(db, tmp_path):
    async with serving(db, tmp_path) as at:
        (at.api.state_dir / "operator.token").write_text("o" * 40)
        for path, body in (
            ("/api/database/migrate", {"action": "migrate"}),
            ("/api/database/performance", {"action": "analyze"}),
            ("/api/v1/work/a.b/pause", {}),
            ("/api/v1/plugins/a/resume", {}),
            ("/api/v1/schedules/a/run", {}),
        ):
            assert (await at.api.post(path, body, token=None)).status == 401
            refused = await at.api.post(path, body, token="o" * 40)
            assert (refused.status, refused.json()["scope"]) == (403, "system:write")
        assert (await at.api.get("/api/v1/plugins", token="o" * 40)).status == 200
    assert await audited(db) == []


@pytest.mark.parametrize("action", ["cleanup", "analyze", "reindex"])
async def test_maintenance_is_done_logged_and_audited(db, tmp_path, action):
    async with serving(db, tmp_path) as at:
        done = (await at.api.post("/api/database/performance", {"action": action})).json()["data"]
        assert (done["action"], done["failed"]) == (action, 0)
        log = (await at.api.get("/api/database/migrate")).json()["data"]["maintenance"]
        assert (await at.api.post("/api/database/performance", {"action": "drop"})).status == 422
    if action == "analyze":
        assert {"wharfd.idempotency_keys"} <= {step["target"] for step in done["steps"]}
        assert log[0]["actor"] == "admin"
    assert await audited(db) == [("admin", "database.maintained", action)]


async def test_the_figures_of_the_database(db, tmp_path):
    async with serving(db, tmp_path) as at:
        await at.api.get("/api/database/health")
        data = (await at.api.get("/api/database/performance")).json()["data"]
    assert {"acquired", "waitSeconds"}.isdisjoint(data["pools"][0])
    assert data["pools"][0]["limit"] >= data["pools"][0]["used"]
    assert data["queries"][0]["p95Ms"] <= data["queries"][0]["maxMs"]
    assert "wharfd.idempotency_keys" in [table["name"] for table in data["tables"]]
    assert all(index["valid"] for index in data["indexes"])
    assert set(data["hitRates"]) == {"postgresql", "cache"}


async def test_the_health_of_the_database(db, tmp_path):
    async with serving(db, tmp_path) as at:
        data = (await at.api.get("/api/database/health")).json()["data"]
    assert (data["status"], data["reasons"]) == ("healthy", [])
    assert data["server"]["server_version"].startswith("18")
    assert 0 < data["connectionUsage"] < 1


async def test_everything_at_a_glance(db, tmp_path):
    async with serving(db, tmp_path) as at:
        await at.api.get("/health/live")
        data = (await at.api.get("/api/performance/status")).json()["data"]
    assert (data["health"], data["ready"]) == ("degraded", True)
    assert data["troubles"] == ["core.replica is degraded: replica lags"]
    assert data["system"]["memoryBytes"] > 1 << 20
    assert data["system"]["diskFreeBytes"] > 0
    assert data["responseTimes"]["count"] >= 1
    assert data["responseTimes"]["p50Ms"] <= data["responseTimes"]["p99Ms"]
    assert data["acceptanceTimes"] == {
        "count": 0, "meanMs": None, "p50Ms": None, "p95Ms": None, "p99Ms": None,
    }  # fmt: skip
    assert data["ingest"] == {"queued_rows": 0}


async def test_plugins_are_listed_and_resumed(db, tmp_path):
    down = Plugin("shop", "quarantined", "5 crashes in 10 minutes", retry_in_seconds=3.14159)
    well, broken = Plugin("hello", "running"), Plugin("mint", "failed", "no module named eth")
    broken.ended.set()
    async with serving(db, tmp_path, plugins=[well, down, broken]) as at:
        listed = (await at.api.get("/api/v1/plugins")).json()["plugins"]
        assert [one["name"] for one in listed] == ["hello", "shop", "mint"]
        assert listed[1]["retry_in_seconds"] == 3.1
        assert (await at.api.post("/api/v1/plugins/shop/resume")).json() == {"name": "shop", "resumed": True}
        assert (await at.api.post("/api/v1/plugins/hello/resume")).status == 409
        ended = await at.api.post("/api/v1/plugins/mint/resume")
        assert (ended.status, "no module named eth" in ended.json()["detail"]) == (409, True)
        assert (await at.api.post("/api/v1/plugins/nobody/resume")).status == 404
    assert (down.resumed, well.resumed, broken.resumed) == (1, 0, 0)
    assert await audited(db) == [("admin", "plugin.resumed", "shop")]


async def test_schedules_are_listed_and_run(db, tmp_path):
    async with serving(db, tmp_path) as at:
        schedule = Schedule(name="nightly", handler=nothing, cron="0 2 * * *")
        often = Schedule(name="often", handler=nothing, every=timedelta(minutes=5))
        await at.sources.schedules.declare("shop", [schedule, often])
        listed = (await at.api.get("/api/v1/schedules")).json()["schedules"]
        assert [(one["name"], one["last_at"]) for one in listed] == [
            ("shop.nightly", None),
            ("shop.often", None),
        ]
        assert "0 2 * * *" in listed[0]["when"]
        fired = await at.api.post("/api/v1/schedules/shop.nightly/run")
        assert fired.json() == {"name": "shop.nightly", "fired": True}
        unknown = await at.api.post("/api/v1/schedules/shop.nope/run")
        assert (unknown.status, "shop.nope" in unknown.json()["detail"]) == (404, True)
        runs = (await at.api.get("/api/v1/schedules/shop.nightly/runs")).json()
        assert runs == {"items": [], "next_cursor": None}
    assert await audited(db) == [("admin", "schedule.run_now", "shop.nightly")]


async def test_queues_are_listed_paused_and_dug_up(db, tmp_path):
    await db.owner.execute(TABLE)
    async with serving(db, tmp_path) as at:
        queue = WorkQueue(name="things", table="wharfd.things", row=Thing, handler=nothing)
        await at.engine.prepare("shop", queue)
        await db.execute(BURIED, 5)
        listed = (await at.api.get("/api/v1/work")).json()["queues"]
        assert [(one["name"], one["state"], one["buried"]) for one in listed] == [
            ("shop.things", "working", 5)
        ]

        path = "/api/v1/work/shop.things"
        assert (await at.api.post(f"{path}/pause")).json()["changed"] is True
        assert (await at.api.post(f"{path}/pause")).json()["changed"] is False
        assert (await at.api.get("/api/v1/work")).json()["queues"][0]["state"] == "paused"
        assert (await at.api.post(f"{path}/resume")).json() == {
            "name": "shop.things", "state": "working", "changed": True,
        }  # fmt: skip

        keys, cursor = [], ""
        for size in (2, 2, 1):
            page = (await at.api.get(f"{path}/buried?limit=2&cursor={cursor}")).json()
            assert len(page["items"]) == size
            keys += [item["key"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert cursor is None
        assert len(set(keys)) == 5
        assert page["items"][0]["reason"] == "no 5"
        assert (await at.api.get(f"{path}/buried?cursor=zzzz")).status == 422

        assert (await at.api.post(f"{path}/requeue", {"keys": keys[:2]})).json()["requeued"] == 2
        assert (await at.api.post(f"{path}/requeue", {"all": True})).json()["requeued"] == 3
        for wrong in ({}, {"keys": []}, {"keys": ["1"], "all": True}, {"keys": ["not-a-number"]}):
            assert (await at.api.post(f"{path}/requeue", wrong)).status == 422
        for action in ("pause", "resume"):
            assert (await at.api.post(f"/api/v1/work/shop.nope/{action}")).status == 404
        assert (await at.api.get("/api/v1/work/shop.nope/buried")).status == 404
    assert [action for _, action, _ in await audited(db)] == [
        "work.paused", "work.resumed", "work.requeued", "work.requeued",
    ]  # fmt: skip


async def test_the_status_of_the_daemon(db, tmp_path):
    async with serving(db, tmp_path, plugins=[Plugin("hello", "running")]) as at:
        status = (await at.api.get("/api/v1/status")).json()
    assert (status["status"], status["ready"], status["node"]) == ("degraded", True, "one")
    assert (status["api"], status["ingest"]) == ("http://127.0.0.1:8470", "http://127.0.0.1:8471")
    assert status["troubles"] == ["core.replica is degraded: replica lags"]
    assert [plugin["name"] for plugin in status["plugins"]] == ["hello"]
    assert status["uptime_seconds"] >= 0


async def test_a_plugins_pending_migration_shows_and_is_applied(db, tmp_path, monkeypatch):
    package = tmp_path / "wharfd_trial"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "migrations" / "0001_init.sql").write_text("CREATE TABLE trial.rows (id bigint PRIMARY KEY);")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with serving(db, tmp_path, declared=[("trial", Migrations("wharfd_trial"))]) as at:
        before = (await at.api.get("/api/database/migrate")).json()["data"]
        assert before["pending"] == [{"plugin": "trial", "name": "0001_init"}]
        assert before["upToDate"] is False
        done = (await at.api.post("/api/database/migrate", {"action": "migrate"})).json()["data"]
        assert [(one["plugin"], one["name"]) for one in done["applied"]] == [("trial", "0001_init")]
        again = (await at.api.post("/api/database/migrate", {"action": "migrate"})).json()["data"]
        assert again == {"applied": [], "failed": {}}
    assert (
        await db.owner.fetchval(sql("test.there", "SELECT to_regclass('trial.rows')::text")) == "trial.rows"
    )


@given(st.lists(st.floats(0.0001, 20), min_size=1, max_size=200))
def test_times_out_of_a_histogram_lie_in_the_right_bucket(values):
    registry = CollectorRegistry()
    bounds = (0.001, 0.01, 0.1, 1.0, 10.0)
    histogram = Histogram("t", "x", ("a",), buckets=bounds, registry=registry)
    for number, value in enumerate(values):
        histogram.labels(str(number % 3)).observe(value)
    found = times_of(registry, "t")
    assert found.count == len(values)
    assert found.mean_ms == pytest.approx(sum(values) / len(values) * 1000, abs=0.01)
    assert found.p50_ms <= found.p95_ms <= found.p99_ms <= 10_000
    middle = sorted(values)[(len(values) - 1) // 2]
    lower = max((bound for bound in (0.0, *bounds) if bound < middle), default=0.0)
    upper = min((bound for bound in bounds if bound >= middle), default=10.0)
    assert lower * 1000 - 0.01 <= found.p50_ms <= upper * 1000 + 0.01


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    assert quantile({1.0: 0.0, float("inf"): 5.0}, 0.5) == 1.0


def test_nothing_of_it_is_for_a_key_of_one_owner():
    assert [one.route.path for one in core_routes(None) if one.route.scope and not one.route.house] == []
