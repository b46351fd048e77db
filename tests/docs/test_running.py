"""The blocks of Python run: as parts of one plugin, in a daemon that uses what they declare."""

from datetime import datetime
from types import ModuleType, SimpleNamespace

import msgspec
import pytest
import structlog
import trio
import trio.testing

import wharfd_parcels
from wharfd import (
    EventType,
    IngestReply,
    IngestRoute,
    JobKind,
    Migrations,
    NetworkPolicy,
    OutboundClient,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
    sql,
)
from wharfd.contracts.mints import Minted, Verified
from wharfd.contracts.orders import Executed
from wharfd.errors import OutboundError

from .reading import ROOT, blocks_of
from .running import Program

ORDER = {
    "clientRef": "A-1", "account": "ACC-1", "currency": "EUR",
    "cartItems": [{"id": "1", "productId": "F12", "transactionType": "purchase", "amount": "12.50", "quantity": 1}],
}  # fmt: skip
SHOP = [("/api/v1/orders", "/api/v1/shop/orders"), ("orders.orders", "shop.orders"), ("loyalty.", "shop.")]
# What the pages call the reader's own.
UPDATE = sql("shop.update", "UPDATE shop.orders SET amount = amount + 1 WHERE owner = $1")
PAGE = sql(
    "shop.page",
    "SELECT * FROM shop.orders WHERE owner IS NOT DISTINCT FROM $1 ORDER BY made_at DESC, id DESC LIMIT $2",
)
ADD = sql("shop.add", "INSERT INTO shop.orders (id, owner, amount) VALUES ($1, $2, $3)")
READ = sql("shop.read", "SELECT state, amount FROM shop.orders WHERE id = $1")
SENT = sql("shop.sent", "UPDATE shop.parcels SET sent = true WHERE id = $1")
PARCELS = sql("shop.parcels", "SELECT address, state FROM shop.parcels ORDER BY id")
ERRAND = sql("shop.errand", "INSERT INTO shop.errands (address) VALUES ('here')")
BOOKED = sql("shop.booked", "SELECT state FROM shop.errands e JOIN shop.bookings b ON b.errand = e.id")
SET_TOKEN = sql("shop.set_token", "INSERT INTO shop.partners (id, token) VALUES ($1, $2)")
NOTIFY = sql("shop.notify", "SELECT pg_notify('wharfd_work', 'shop.parcels')")


class Totals(msgspec.Struct):
    amount: int


class Order(msgspec.Struct):
    id: str
    amount: int


class Admission(msgspec.Struct):
    body: bytes


class Store:
    """What the page about endpoints calls `store`."""

    async def add(self, db, owner, new):
        order = Order(f"order-{new.amount}", new.amount)
        await db.execute(ADD, order.id, owner, order.amount)
        return order

    async def page(self, db, owner, last, limit):
        return await db.fetch(PAGE, owner, limit)


class SolanaMinter:
    def __init__(self, ctx):
        self.ctx = ctx

    async def advance(self, request):
        return Minted("0xfeed", "1") if not request.delivered else None

    async def verify(self, request, tx_hash):
        return Verified(True, final=True)

    async def examine(self):
        return []


class Executor:
    name = "ours"

    async def execute_many(self, tx, orders):
        return [Executed("elsewhere") for _ in orders]


class Shop:
    """The plugin that the pages' blocks make, and what its handlers were given."""

    def __init__(self):
        self.heard, self.posted, self.reported = [], [], []
        self.events = Program("events.md", {
            "on_parcel_sent": self.hear, "audit": self.hear, "clean_up": self.rest, "refresh": self.rest,
            "MARK_SENT": SENT,
        })  # fmt: skip
        self.work = Program("work.md", {
            "post": self.post, "ADD_PARCEL": sql("shop.add_parcel", "INSERT INTO shop.parcels (address) VALUES ($1)"),
            "ADD_BOOKING": sql("shop.add_booking", "INSERT INTO shop.bookings (errand) VALUES ($1)"),
        })  # fmt: skip
        self.http = Program(
            "http-api.md",
            {"store": Store(), "datetime": datetime, "to_order": lambda row: Order(row["id"], row["amount"])},
            SHOP,
        )
        self.ingest = Program("ingest.md", {
            "Admission": Admission, "admit": lambda ctx, delivery: Admission(delivery.body), "store": self.keep,
            "spooled": lambda ctx, admission: IngestReply(200, b""), "answer": lambda ctx, delivery: IngestReply(200),
        })  # fmt: skip
        self.secrets = Program("secrets.md", {
            "SET_TOKEN": SET_TOKEN, "DISABLE": sql("shop.disable", "UPDATE shop.orders SET state = 'off' WHERE id = $1"),
        }, SHOP)  # fmt: skip
        self.kept = []

    async def hear(self, ctx, envelope):
        self.heard.append(envelope.type)

    async def rest(self, ctx):
        """Nothing is due in a test."""

    async def post(self, address):
        self.posted.append(address)

    async def keep(self, ctx, tx, admissions):
        self.kept += [one.body for one in admissions]
        return [IngestReply(200, b"") for _ in admissions]

    def module(self):
        """Return it as the module of a plugin."""
        (route, *routes) = self.http.of(Route)
        errands = WorkQueue(
            name="errands",
            table="shop.errands",
            row=self.work.scope["Parcel"],
            handler=self.work.scope["book"],
        )
        (kind,) = self.work.of(JobKind)
        kind = JobKind(name=kind.name, args=kind.args, handler=self.report)
        module = ModuleType("wharfd_parcels")
        module.__file__, module.__path__ = wharfd_parcels.__file__, wharfd_parcels.__path__
        declared = {
            "register_migrations": Migrations("wharfd_parcels"),
            "register_routes": [route, *routes],
            "register_ingest": self.ingest.of(IngestRoute),
            "register_work": [*self.work.of(WorkQueue), errands, kind],
            "register_schedules": self.events.of(Schedule),
            "register_subscriptions": [*self.events.of(EventType), *self.events.of(Subscription)],
        }
        for name, value in declared.items():
            setattr(module, name, hookimpl(_giving(name, value)))

        @hookimpl
        async def provision(ctx):
            ctx.state["executor"] = Executor()
            await self.secrets.scope["provision"](ctx)

        module.provision = provision
        module.register_minters = Program("mint.md", {"SolanaMinter": SolanaMinter}).scope["register_minters"]
        module.register_order_executors = Program("bulk-orders.md").scope["register_order_executors"]
        return module

    async def report(self, ctx, args, job):
        self.reported.append(args.month)
        await self.work.scope["send_report"](ctx, args, job)


def _giving(name, value):
    def give():
        return value

    give.__name__ = name
    return give


@pytest.fixture
async def shop(daemon):
    made = Shop()
    config = """[plugins.orders]
[plugins.mint]
minter = "solana"
[plugins.mint.tiers.founder]
price = 5000
"""
    async with daemon(plugins={"shop": made.module()}, config=config) as d:
        made.d, made.ctx = d, d.context("shop")
        yield made


async def test_the_blocks_are_a_plugin_that_runs(shop):
    d, ctx = shop.d, shop.ctx
    # docs/http-api.md
    made = await d.post("/api/v1/shop/orders", {"amount": 3})
    assert (made.status, made.headers["location"]) == (201, "/api/v1/shop/orders/order-3")
    assert (await d.post("/api/v1/shop/orders", {"amount": 0})).status == 422
    assert [one["amount"] for one in (await d.get("/api/v1/shop/orders?limit=1")).json()["items"]] == [3]
    # docs/ingest.md
    (route,) = shop.ingest.of(IngestRoute)
    assert (await d.deliver(route.paths[0], b"a body")).status == 200
    assert shop.kept == [b"a body"]
    # docs/work.md
    await shop.work.go_on(ctx=ctx, address="12 Harbour Street")
    await shop.work.go_on(ctx=ctx)
    assert shop.work.ended
    await ctx.db.execute(ERRAND)
    ctx.work.wake(None, "errands")
    # docs/events.md
    parcel = SimpleNamespace(id=1, owner="ann")
    await shop.events.go_on(ctx=ctx, parcel=parcel, trace="0" * 32)
    assert shop.events.ended
    await d.drain()
    assert [tuple(row.values()) for row in await ctx.db.fetch(PARCELS)] == [("12 Harbour Street", "done")]
    assert shop.posted == ["12 Harbour Street"]
    assert [row["state"] for row in await ctx.db.fetch(BOOKED)] == ["done"]
    assert "parcel.sent" in shop.heard
    assert {one["name"] for one in (await d.get("/api/v1/schedules")).json()["schedules"]} >= {
        "shop.nightly",
        "shop.refresh",
    }
    # docs/bulk-orders.md and docs/mint.md
    batch = await d.post("/api/v1/bulk-orders", {"orders": [ORDER], "options": {"executor": "ours"}})
    assert batch.status == 201, batch.body
    buyer = {"wallet": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "tier": "founder", "status": "active"}
    assert (await d.post("/api/v1/buyers", buyer)).status == 201
    await d.drain("orders.bulk", "mint.intents")
    done = (await d.get(f"/api/v1/bulk-orders/{batch.json()['batchId']}")).json()
    assert (done["executor"], done["succeeded"]) == ("ours", 1)
    (mint,) = (await d.get("/api/v1/mints")).json()["items"]
    assert (mint["minter"], mint["txHash"]) == ("solana", "0xfeed")


async def test_the_blocks_that_use_a_context(shop):
    ctx, log = shop.ctx, structlog.get_logger()
    await ctx.db.execute(ADD, "order-1", "ann", 4)
    # docs/database.md
    database = Program("database.md", {"pytest": pytest, "log": log}, SHOP)
    await database.go_on(ctx=ctx, owner="ann", order_id="order-1")
    assert [row["id"] for row in database.scope["rows"]] == ["order-1"]
    assert database.scope["changed"] == 1
    event = shop.events.scope["ParcelSent"](parcel_id=1)
    await database.go_on(event=event)
    assert (await ctx.db.fetchrow(READ, "order-1"))["state"] == "paid"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.go_on)
        with trio.fail_after(60):
            while "payload" not in database.scope:
                await ctx.db.fetchval(NOTIFY)
        nursery.cancel_scope.cancel()

    # docs/cache.md
    async def read_totals(owner, month):
        return Totals((await ctx.db.fetchrow(READ, "order-1"))["amount"])

    cache = Program("cache.md", {"Totals": Totals, "read_totals": read_totals, "UPDATE": UPDATE})
    await cache.go_on(ctx=ctx, owner="ann", month=11)
    assert cache.scope["totals"] == Totals(4)
    await cache.go_on()
    await cache.go_on(identity=SimpleNamespace(owner="ann"))
    assert cache.scope["verdict"].remaining == 9
    # docs/secrets.md
    async with ctx.db.transaction() as tx:
        await shop.secrets.scope["save"](ctx, tx, "p1", "a token")
    sealed = await ctx.db.fetchval(sql("shop.sealed", "SELECT token FROM shop.partners"))
    assert b"a token" not in sealed
    assert await shop.secrets.scope["load"](ctx, "p1", sealed) == b"a token"
    identity = SimpleNamespace(subject="admin", owner=None)
    await shop.secrets.go_on(
        ctx=ctx, endpoint_id="order-1", request=SimpleNamespace(identity=identity, client=None)
    )
    entries = (await shop.d.get("/api/v1/audit?action=webhook.disabled")).json()["items"]
    assert [one["detail"] for one in entries] == [{"reason": "410 Gone"}]


async def test_a_request_and_its_receiver(receiver):
    shown = Program("outbound-http.md", swaps=[("https://shop.example", receiver.url)])
    async with OutboundClient(NetworkPolicy(allow_networks=("127.0.0.0/8",))) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shown.scope["test_delivery"], receiver)
            await trio.testing.wait_all_tasks_blocked()
            first = await client.request("POST", receiver.url, deadline=30)
            assert (first.status, first.header("retry-after")) == (503, "1")
            with pytest.raises(OutboundError):
                await client.request("POST", receiver.url, deadline=30)
        await shown.go_on(ctx=SimpleNamespace(http=client))
    answer = shown.scope["answer"]
    assert (answer.status, answer.body) == (200, b"")
    assert answer.timings
    assert answer.peer


shown = Program("database.md", {"pytest": pytest}).scope
migrations = shown["migrations"]
test_nobody_is_a_member_yet = shown["test_nobody_is_a_member_yet"]


def test_the_tests_of_the_example_hold_what_the_page_shows():
    text = [
        block.text for block in blocks_of(ROOT / "docs" / "write-a-plugin.md") if block.language == "python"
    ][-1]
    theirs = (ROOT / "docs" / "examples" / "wharfd-loyalty" / "tests" / "test_loyalty.py").read_text()
    assert all(line in theirs for line in text.splitlines())
