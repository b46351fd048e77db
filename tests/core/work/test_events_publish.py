"""Publishing and hearing events."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import datetime
from typing import ClassVar

import pytest
import trio

from wharfd.contracts.events import Event
from wharfd.db import sql
from wharfd.db.partitions import ensure
from wharfd.declare import EventType, Retry, Subscription
from wharfd.errors import InvalidEvent, UnknownEvent
from wharfd.events import EventBus, find_problems


class Paid(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "test_payment.received"
    version: ClassVar[int] = 3
    amount: int
    at: datetime | None = None


class Failed(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "test_payment.failed"
    reason: str = ""


class Shipped(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "test_order.shipped"


PUBLISHES = [EventType(Paid), EventType(Failed), EventType(Shipped)]
QUICK = Retry(attempts=20, delays=(0.01,), jitter=0)


class Shop:
    """A bus with a publisher `shop` and whoever listens."""

    def __init__(self, kit, engine):
        self.kit = kit
        self.engine = engine
        self.bus = EventBus(kit.db, engine)
        self.events = self.bus.events("shop")

    async def publish(self, *events, **more):
        async with self.kit.db.transaction() as tx:
            return await self.events.publish_many(tx, events, **more)

    @asynccontextmanager
    async def listening(self, plugin, *subscriptions, ctx=None, stop_seconds=5):
        queues = await self.bus.declare(plugin, subscriptions)
        async with trio.open_nursery() as nursery:
            runners = [self.engine.runner(queue, ctx) for queue in queues]
            for runner in runners:
                await nursery.start(runner.run)
            yield runners
            for runner in runners:
                runner.stop(stop_seconds)

    async def empty(self):
        return await self.kit.things.fetch("SELECT 1 FROM wharfd.inbox HAVING count(*) = 0")


@pytest.fixture
async def shop(kit):
    await ensure(kit.db.owner, ["wharfd.events"])
    shop = Shop(kit, kit.engine())
    await shop.bus.declare("shop", PUBLISHES)
    return shop


async def test_everybody_who_listens_hears_what_was_published(shop):
    heard = []

    async def exact(ctx, envelope):
        heard.append((ctx, "exact", envelope))

    async def some(ctx, envelope):
        heard.append((ctx, "some", envelope))

    async def everything(ctx, envelope):
        heard.append((ctx, "everything", envelope))

    async with shop.listening(
        "stock",
        Subscription(Paid, exact),
        Subscription("test_payment.*", some),
        Subscription("*", everything),
        ctx="ctx",
    ):
        ids = await shop.publish(Paid(amount=5, owner="anna", subject="tx_1"), Shipped(), trace_id="trace")
        await shop.kit.wait_for(shop.empty)
    assert sorted((who, envelope.type) for _, who, envelope in heard) == [
        ("everything", "test_order.shipped"),
        ("everything", "test_payment.received"),
        ("exact", "test_payment.received"),
        ("some", "test_payment.received"),
    ]
    _, _, envelope = next(entry for entry in heard if entry[1] == "exact")
    assert (envelope.id, envelope.version, envelope.owner, envelope.subject, envelope.trace_id) == (
        ids[0],
        3,
        "anna",
        "tx_1",
        "trace",
    )
    assert envelope.data == {"amount": 5, "at": None}
    assert envelope.occurred_at.tzinfo is not None
    assert {entry[0] for entry in heard} == {"ctx"}


async def test_several_patterns_of_one_subscriber_are_one_row_per_event(shop):
    heard = []

    async def listen(ctx, envelope):
        heard.append(envelope.type)

    async with shop.listening(
        "stock", Subscription(Paid, listen), Subscription("test_payment.*", listen), Subscription("*", listen)
    ) as runners:
        assert len(runners) == 1
        await shop.publish(Paid(amount=1), Failed())
        await shop.kit.wait_for(shop.empty)
    assert sorted(heard) == ["test_payment.failed", "test_payment.received"]


async def test_a_prefix_does_not_match_half_a_word(shop):
    async def listen(ctx, envelope):
        pass

    async with shop.listening("stock", Subscription("test_pay.*", listen)):
        await shop.publish(Paid(amount=1))
        assert await shop.empty()


async def test_what_is_rolled_back_was_never_published(shop):
    async def listen(ctx, envelope):
        raise AssertionError

    await shop.bus.declare("stock", [Subscription(Paid, listen)])
    with pytest.raises(KeyError):
        async with shop.kit.db.transaction() as tx:
            await shop.events.publish(tx, Paid(amount=1))
            raise KeyError
    assert await shop.empty()
    assert await shop.kit.things.fetch("SELECT count(*) FROM wharfd.events") == [(0,)]


async def test_many_events_take_few_statements_and_keep_their_order(shop):
    heard = []

    async def listen(ctx, envelope):
        heard.append(envelope.data["amount"])

    await shop.bus.declare("stock", [Subscription(Paid, listen, concurrency=1)])
    before = sum(s.count for s in shop.kit.db.statistics().statements if s.name == "events.publish")
    ids = await shop.publish(*(Paid(amount=n) for n in range(2500)))
    after = sum(s.count for s in shop.kit.db.statistics().statements if s.name == "events.publish")
    assert after - before == 3
    assert len(set(ids)) == 2500
    async with shop.listening("stock", Subscription(Paid, listen, concurrency=1)):
        await shop.kit.wait_for(shop.empty)
    assert sorted(heard) == list(range(2500))
    fetches = sum(s.count for s in shop.kit.db.statistics().statements if s.name == "events.fetch")
    assert fetches < 250  # envelopes come together, not one by one
    assert shop.engine.queues["stock.listen"].counters.arrived == 2500


async def test_unknown_and_ill_fitting_events_are_refused(shop):
    class Strange(Event, frozen=True, kw_only=True):
        type: ClassVar[str] = "test_strange.thing"

    with pytest.raises(UnknownEvent, match="plugin shop does not publish Strange"):
        await shop.publish(Strange())
    with pytest.raises(UnknownEvent, match="plugin stock does not publish Paid"):
        async with shop.kit.db.transaction() as tx:
            await shop.bus.events("stock").publish(tx, Paid(amount=1))
    with pytest.raises(InvalidEvent, match=r"test_payment\.received: .*amount"):
        await shop.publish(Paid(amount="five"))
    with pytest.raises(InvalidEvent, match="NUL"):
        await shop.publish(Failed(reason="a\x00b"))
    with pytest.raises(InvalidEvent):
        await shop.publish(Failed(reason="lone \ud800"))
    assert await shop.kit.things.fetch("SELECT count(*) FROM wharfd.events") == [(0,)]


async def test_a_daemon_without_the_plugin_still_leaves_it_its_events(shop):
    heard = []

    async def listen(ctx, envelope):
        heard.append(envelope.id)

    # The subscriber's daemon is down; the publisher's knows nothing of it but what the database says.
    await EventBus(shop.kit.db, shop.kit.engine("other")).declare("stock", [Subscription(Paid, listen)])
    ids = await shop.publish(Paid(amount=1))
    async with shop.listening("stock", Subscription(Paid, listen)):
        await shop.kit.wait_for(shop.empty)
    assert heard == ids


async def test_left_overs_of_a_subscriber_are_shown_and_can_be_dropped(shop):
    async def listen(ctx, envelope):
        raise AssertionError

    await shop.bus.declare("stock", [Subscription(Paid, listen), Subscription(Failed, listen, name="also")])
    await shop.publish(*(Paid(amount=n) for n in range(1500)), Failed())
    await shop.bus.declare("stock", [Subscription(Failed, listen, name="also")])
    waiting = {w.subscriber: w for w in await shop.bus.inbox.waiting()}
    assert (waiting["stock.listen"].rows, waiting["stock.listen"].declared) == (1500, False)
    assert (waiting["stock.also"].rows, waiting["stock.also"].declared) == (1, True)
    assert waiting["stock.also"].since is not None
    await shop.publish(Paid(amount=1))  # nobody hears it now
    assert await shop.bus.inbox.drop("stock.listen", actor="anna") == 1500
    assert [w.subscriber for w in await shop.bus.inbox.waiting()] == ["stock.also"]


async def test_who_was_not_declared_for_a_week_hears_nothing_more(shop):
    async def listen(ctx, envelope):
        pass

    await shop.bus.declare("stock", [Subscription(Paid, listen)])
    await shop.kit.things.fetch(
        "UPDATE wharfd.subscriptions SET declared_at = now() - interval '8 days' RETURNING 1"
    )
    await shop.publish(Paid(amount=1))
    assert await shop.empty()
    await shop.bus.declare("stock", [Subscription(Paid, listen)])
    await shop.publish(Paid(amount=1))
    assert not await shop.empty()


async def test_a_missing_event_is_buried_and_failures_are_tried_again(shop):
    attempts = []

    async def listen(ctx, envelope):
        attempts.append(envelope.data["amount"])
        if len(attempts) < 3:
            raise ValueError("not yet")

    await shop.bus.declare("stock", [Subscription(Paid, listen)])
    await shop.publish(Paid(amount=1))
    await shop.kit.things.fetch(
        "INSERT INTO wharfd.inbox (subscriber, event_id, event_at) "
        "VALUES ('stock.listen', 'evt_gone', now()) RETURNING 1"
    )

    async def only_the_missing():
        rows = await shop.kit.things.fetch("SELECT state, last_error FROM wharfd.inbox")
        return rows == [("buried", "event evt_gone is not there any more")]

    async with shop.listening("stock", Subscription(Paid, listen, retry=QUICK)):
        await shop.kit.wait_for(only_the_missing)
    assert attempts == [1, 1, 1]


async def test_a_transactional_subscription_has_its_effect_exactly_once(shop):
    """Handlers fail before and after their writes, are robbed of their leases, and run in two daemons."""
    rng = random.Random()

    async def book(ctx, envelope, tx):
        await tx.execute(shop.kit.EFFECT, envelope.data["amount"], envelope.id)
        await trio.sleep(rng.choice([0, 0, 0.003]))
        if rng.random() < 0.25:
            raise ValueError("after the write")

    async def steal():
        while True:
            await trio.sleep(rng.uniform(0, 0.02))
            await shop.kit.db.execute(STEAL)

    subscription = Subscription(Paid, book, transactional=True, retry=QUICK)
    other = Shop(shop.kit, shop.kit.engine("other"))
    async with shop.listening("stock", subscription), other.listening("stock", subscription):
        async with trio.open_nursery() as thieves:
            thieves.start_soon(steal)
            for start in range(0, 200, 20):
                await shop.publish(*(Paid(amount=n) for n in range(start, start + 20)))
            with trio.move_on_after(1):
                await shop.kit.wait_for(shop.empty)
            thieves.cancel_scope.cancel()
        await shop.kit.wait_for(shop.empty, 20)
    assert await shop.kit.things.effects() == list(range(200))


STEAL = sql(
    "test.steal",
    """UPDATE wharfd.inbox SET state = 'ready', claim = NULL WHERE id IN (
  SELECT id FROM wharfd.inbox WHERE state = 'running' ORDER BY random() LIMIT 3 FOR UPDATE SKIP LOCKED)""",
)


def test_what_is_wrong_with_declarations_is_said_for_all_plugins_at_once():
    async def listen(ctx, envelope):
        pass

    async def other(ctx, envelope):
        pass

    class Nameless(Event, frozen=True, kw_only=True):
        pass

    class Imitation(Event, frozen=True, kw_only=True):
        type: ClassVar[str] = "test_payment.received"

    problems = find_problems(
        {
            "shop": [*PUBLISHES, EventType(Nameless)],
            "rival": [EventType(Imitation)],
            "stock": [
                Subscription(Paid, listen),
                Subscription(Failed, other, name="listen"),
                Subscription("test_nobody.says", listen, name="deaf"),
                Subscription("test_anything.*", listen, name="fine"),
            ],
        }
    )
    assert problems == [
        "plugin shop: event class Nameless has no type",
        "event type 'test_payment.received' is declared by shop as Paid and by rival as Imitation",
        "plugin stock: two different subscriptions are called 'listen'; give name=",
        "plugin stock: deaf listens to 'test_nobody.says', a type that nobody declares",
    ]


@pytest.mark.parametrize(
    "pattern", ["", "Payment", "payment.", "*.received", "payment.*.x", "payment*", "a b"]
)
def test_bad_patterns_are_refused(pattern):
    async def listen(ctx, envelope):
        pass

    with pytest.raises(ValueError, match="no event type and no pattern"):
        Subscription(pattern, listen)
    with pytest.raises(ValueError, match="give name="):
        Subscription("payment.*", lambda ctx, envelope: None)
