"""The plugin on a real database with a real work engine and a real receiver, and ways to wait for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import structlog
import trio

import wharfd_webhooks as plugin
from wharfd.audit import Audit
from wharfd.clock import Clock
from wharfd.context import PluginContext
from wharfd.contracts.events import Event
from wharfd.db import sql
from wharfd.declare import EventType, JobKind, WorkQueue
from wharfd.events import EventBus
from wharfd.http.outbound import OutboundClient
from wharfd.ids import new_id
from wharfd.keystore import open_vault
from wharfd.metrics import Metrics
from wharfd.work import WorkEngine
from wharfd.work.jobs import Jobs, queue_of
from wharfd_webhooks.config import Settings
from wharfd_webhooks.model.keys import new_key
from wharfd_webhooks.store import endpoints

NAME = "webhooks"


class OrderCreated(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "order.created"
    order_id: str
    amount: int = 0
    customer: str = "c1"


class OrderFailed(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "order.failed"
    order_id: str


class NoServices:
    """No plugin offers anything."""

    def find(self, key):
        return None


@dataclass
class NoHooks:
    """Plugins that implement before_delivery, as a list of functions."""

    functions: list[Any] = field(default_factory=list)

    async def call(self, name, **arguments):
        assert name == "before_delivery"
        return [await function(**arguments) for function in self.functions]


@dataclass
class Neighbours:
    """What plugins declared."""

    registered: list[tuple[str, Any]]

    def declared(self, kind):
        return [(name, value) for name, value in self.registered if isinstance(value, kind)]


QUICK = Settings(
    allow_networks=("127.0.0.0/8",),
    delays=(0.02, 0.05, 0.05),
    reject_delays=(0.02,),
    jitter=0.0,
    concurrency=64,
)


class House:
    """The plugin, running."""

    def __init__(self, db, engine, bus, ctx, http, vault, metrics):
        self.db = db
        self.engine = engine
        self.bus = bus
        self.ctx = ctx
        self.http = http
        self.vault = vault
        self.metrics = metrics
        self.other = bus.events("shop")

    @staticmethod
    def created(order_id="o1", *, owner="acme", **more):
        return OrderCreated(owner=owner, order_id=order_id, **more)

    @staticmethod
    def failed(order_id="o1", *, owner="acme"):
        return OrderFailed(owner=owner, order_id=order_id)

    @property
    def sender(self):
        return self.ctx.state["sender"]

    async def endpoint(self, url, *, events=("*",), owner="acme", keys=None, **more):
        keys = [new_key()] if keys is None else keys
        endpoint_id = new_id("wh")
        async with self.db.transaction() as tx:
            await endpoints.add(
                tx,
                self.ctx.secrets,
                endpoints.NewEndpoint(
                    id=endpoint_id, owner=owner, url=url, events=list(events), **{"max_in_flight": 16, **more}
                ),
            )
            for key in keys:
                await endpoints.add_secret(tx, self.ctx.secrets, endpoint_id, key)
        return endpoint_id

    async def publish(self, *events):
        async with self.db.transaction() as tx:
            return await self.other.publish_many(tx, events, trace_id="trace-1")

    async def fetch(self, text, *args):
        return await self.db.fetch(sql("test.fetch", text), *args)

    async def set(self, text, *args):
        return await self.db.execute(sql("test.set", text), *args)

    async def deliveries(self, endpoint_id=None):
        return await self.fetch(
            "SELECT * FROM webhooks.deliveries WHERE $1::text IS NULL OR endpoint_id = $1 ORDER BY id",
            endpoint_id,
        )

    async def attempts(self, delivery_id=None):
        return await self.fetch(
            "SELECT * FROM webhooks.attempts WHERE $1::text IS NULL OR delivery_id = $1 ORDER BY delivery_id, number",
            delivery_id,
        )

    async def states(self):
        rows = await self.fetch("SELECT state, count(*) FROM webhooks.deliveries GROUP BY state")
        return dict(map(tuple, rows))

    async def get(self, endpoint_id):
        return (await self.fetch("SELECT * FROM webhooks.endpoints WHERE id = $1", endpoint_id))[0]

    async def until(self, check, seconds=60):
        with trio.fail_after(seconds):
            while not (found := await check()):
                await trio.sleep(0.01)
        return found

    async def settled(self, count, seconds=60):
        """Wait until so many deliveries are there and none is ready or running."""

        async def check():
            states = await self.states()
            return (
                states if sum(states.values()) >= count and not {"ready", "running"} & set(states) else None
            )

        return await self.until(check, seconds)

    async def reached(self, count, state, seconds=60):
        """Wait until so many deliveries are in a state."""

        async def check():
            return (await self.states()).get(state, 0) >= count

        await self.until(check, seconds)


def make_context(db, engine, bus, vault, http, settings, metrics, hooks=None, registered=()):
    work = engine.work.bound(NAME)
    kinds = {kind.args: kind for kind in plugin.register_work(settings) if isinstance(kind, JobKind)}
    declared = [(NAME, value) for value in plugin.register_subscriptions(settings)]
    return PluginContext(
        name=NAME,
        settings=settings,
        log=structlog.get_logger(plugin=NAME),
        db=db.named(NAME),
        cache=None,
        work=work,
        jobs=Jobs(NAME, work, kinds),
        events=bus.events(NAME),
        services=NoServices(),
        hooks=hooks or NoHooks(),
        metrics=metrics.for_plugin(NAME, plugin.register_metrics(settings)),
        http=http,
        secrets=vault.for_schema(NAME),
        audit=Audit(db),
        limits=None,
        clock=Clock(),
        state_dir=None,
        plugins=Neighbours([*declared, *registered]),
    )


@asynccontextmanager
async def open_house(db, tmp_path, settings=QUICK, *, work=True, node="one", hooks=None):
    """The plugin on this database; `work=False` leaves its queues alone."""
    engine = WorkEngine(db, node=node)
    bus = EventBus(db, engine)
    vault = await open_vault(db, configured=None, key_path=tmp_path / "master.key")
    metrics = Metrics(process=False)
    published = [EventType(OrderCreated), EventType(OrderFailed)]
    async with OutboundClient() as http, trio.open_nursery() as nursery:
        ctx = make_context(
            db, engine, bus, vault, http, settings, metrics, hooks, [("shop", one) for one in published]
        )
        queues = []
        for declared in plugin.register_work(settings):
            one = queue_of(NAME, declared) if isinstance(declared, JobKind) else declared
            assert isinstance(one, WorkQueue)
            queues.append(await engine.prepare(NAME, one))
        queues += await bus.declare(NAME, plugin.register_subscriptions(settings))
        await bus.declare("shop", published)
        await plugin.provision(ctx)
        await nursery.start(engine.run)
        stop = trio.Event()
        if work:
            await nursery.start(
                lambda task_status: engine.run_queues(
                    queues, ctx, stop=stop, stop_seconds=5, task_status=task_status
                )
            )
        house = House(db, engine, bus, ctx, http, vault, metrics)
        house.queues, house.stop = queues, stop
        yield house
        stop.set()
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def migrations():
    return [(NAME, plugin.register_migrations())]


@pytest.fixture
async def house(db, tmp_path):
    async with open_house(db, tmp_path) as opened:
        yield opened


@pytest.fixture
def quick():
    """Settings for tests, and a way to change them."""
    return lambda **changes: replace(QUICK, **changes)


@pytest.fixture
def opened(db, tmp_path):
    """Open the plugin with settings of the test's own."""
    return lambda settings=QUICK, **more: open_house(db, tmp_path, settings, **more)
