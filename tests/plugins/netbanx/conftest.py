"""A netbanx plugin on a real database, with the real engine, event bus and group commit around it."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import structlog.testing
import trio

import wharfd_netbanx
from wharfd.audit import Audit
from wharfd.cache import Cache
from wharfd.clock import Clock
from wharfd.context import PluginContext
from wharfd.db import sql
from wharfd.declare import Migrations
from wharfd.events import EventBus
from wharfd.ingest import Answerer, Delivery, GroupCommitter
from wharfd.keystore import DataKeyTable
from wharfd.metrics import Metrics
from wharfd.secrets import Secret
from wharfd.secrets.keys import MasterKey, MasterKeys
from wharfd.secrets.vault import Vault
from wharfd.work import WorkEngine
from wharfd_netbanx import declared, upkeep
from wharfd_netbanx.acceptance.routes import ingest_routes
from wharfd_netbanx.config import Settings, Source
from wharfd_netbanx.processing.handler import event_queue
from wharfd_netbanx.samples import make_sample

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
AT = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def logged():
    """What is logged; it is not printed, because tracebacks with all their locals take seconds each."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def migrations():
    return [("netbanx", Migrations("wharfd_netbanx", partitioned=("netbanx.events",)))]


def paysafe(**more):
    return Source(**{"keys": (Secret(KEY),)} | more)


class Plugin:
    """The plugin under test and what it stands on."""

    def __init__(self, db, settings):
        self.db = db
        self.settings = settings
        self.buried = []
        self.engine = WorkEngine(db, node="one", buried=lambda *args: self.buried.append(args))
        self.bus = EventBus(db, self.engine)
        self.log = structlog.get_logger("test")
        self.vault = Vault(DataKeyTable(db), MasterKeys([MasterKey.make()])).for_schema("netbanx")
        self.metrics = Metrics(process=False)
        self.routes = {route.source: route for route in ingest_routes(settings)}
        self.ctx = PluginContext(
            name="netbanx",
            settings=settings,
            log=self.log,
            db=db.named("netbanx"),
            cache=Cache(None, namespace="test").named("netbanx"),
            work=self.engine.work.bound("netbanx"),
            jobs=None,
            events=self.bus.events("netbanx"),
            services=None,
            hooks=None,
            metrics=self.metrics.for_plugin("netbanx", declared.METRICS),
            http=None,
            secrets=self.vault,
            audit=Audit(db),
            limits=None,
            clock=Clock(),
            state_dir=None,
            plugins=None,
        )
        self.committer = GroupCommitter(db.transaction, log=self.log)
        self.answerer = Answerer(self.committer, log=self.log)

    async def prepare(self):
        await self.bus.declare("netbanx", wharfd_netbanx.register_subscriptions(self.settings))
        self.queue = await self.engine.prepare("netbanx", event_queue(self.settings))
        await upkeep.prepare(self.ctx)

    @property
    def intake(self):
        return self.ctx.state["intake"]

    def sign(self, body, source="netbanx", at=AT):
        verifier = self.settings.sources[source].verifier(self.settings.sources[source].typed_keys())
        return verifier.sign(body, at, "evt_test")

    def sample(self, name, source="netbanx", *, at=AT, **more):
        verifier = self.settings.sources[source].verifier(self.settings.sources[source].typed_keys())
        return make_sample(verifier, name, at=at, **more)

    def delivery(self, body, headers, source="netbanx", *, method="POST", path=None, at=AT):
        return Delivery(
            source=source,
            path=path or self.routes[source].paths[0],
            method=method,
            headers=[(k.encode(), v.encode()) for k, v in headers.items()],
            body=body,
            client="203.0.113.7",
            received_at=at,
            received_monotonic=1.0,
        )

    async def post(self, body, headers=None, source="netbanx", **more):
        """Deliver a body, signed unless headers are given, and return the reply."""
        if headers is None:
            body, headers = self.sign(body, source)
        return await self.answerer.answer(
            self.routes[source], self.ctx, self.delivery(body, headers, source, **more)
        )

    async def send(self, name, source="netbanx", **more):
        """Deliver a sample."""
        sample = self.sample(name, source, **more)
        return await self.post(sample.body, sample.headers, source)

    async def fetch(self, text, *args):
        return [dict(row) for row in await self.db.fetch(sql("test.fetch", text), *args)]

    async def value(self, text, *args):
        return await self.db.fetchval(sql("test.value", text), *args)

    async def worked(self, seconds=60):
        """Work the queue until nothing waits."""
        runner = self.engine.runner(self.queue, self.ctx)
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            with trio.fail_after(seconds):
                while await self.value(
                    "SELECT EXISTS (SELECT FROM netbanx.events WHERE state IN ('ready', 'running'))"
                ):
                    await trio.sleep(0.01)
            runner.stop(5)


@pytest.fixture
def settings():
    return Settings(
        sources={
            "netbanx": paysafe(),
            "github": Source(scheme="github", paths=("/github",), keys=(Secret("s" * 20),), owner="acme"),
        },
        retry_seconds=0.01,
    )


@asynccontextmanager
async def opened(db, settings):
    """A plugin that is ready, its committer running."""
    found = Plugin(db, settings)
    await found.prepare()
    async with trio.open_nursery() as nursery:
        await nursery.start(found.committer.run)
        yield found
        found.committer.stop()


@pytest.fixture
async def plugin(db, settings):
    async with opened(db, settings) as found:
        yield found


@pytest.fixture
def with_settings(db):
    """Open a plugin with other settings: `async with with_settings(batch=3) as plugin:`."""

    def make(**changes):
        base = Settings(sources={"netbanx": paysafe()}, retry_seconds=0.01)
        return opened(db, dataclasses.replace(base, **changes))

    return make
