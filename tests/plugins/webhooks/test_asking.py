"""Who asks for what is kept in memory, and yet every change of an endpoint counts at once."""

from __future__ import annotations

import pytest

from wharfd_webhooks import watching
from wharfd_webhooks.fanout import Published, spread
from wharfd_webhooks.store import asking
from wharfd_webhooks.store.messages import Message

URL = "http://127.0.0.1:9/"


@pytest.fixture
async def still(opened):
    """The plugin with its queues at rest."""
    async with opened(work=False) as house:
        yield house


def message(number, *, type_="order.created", owner="acme"):
    return Message(f"evt_{number}", type_, owner, "event", b'{"data":{"n":%d}}' % number)


async def publish(house, *messages):
    async with house.db.transaction() as tx:
        return await spread(house.ctx, tx, [Published(one, house.ctx.now()) for one in messages])


CHANGES = {
    "switched off": ("UPDATE webhooks.endpoints SET status = 'disabled'", 0),
    "paused": ("UPDATE webhooks.endpoints SET status = 'paused'", 1),
    "deleted": ("UPDATE webhooks.endpoints SET status = 'deleted'", 0),
    "other events": ("UPDATE webhooks.endpoints SET events = '{payment.*}'", 0),
    "other filter": ("""UPDATE webhooks.endpoints SET filter = '{"data.n": {"lt": 0}}', version = 2""", 0),
    "other owner": ("UPDATE webhooks.endpoints SET owner = 'other'", 0),
    "doing badly": ("UPDATE webhooks.endpoints SET failure_count = 9", 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_counts_at_once(still, change):
    await still.endpoint(URL, events=["order.*"])
    assert await publish(still, message(1)) == 1
    statement, wanted = CHANGES[change]
    await still.set(statement)
    assert await publish(still, message(2)) == wanted


async def test_a_new_endpoint_hears_the_next_event_of_every_kind(still):
    assert await publish(still, message(1), message(2, type_="payment.received"), message(3, owner=None)) == 0
    mine = await still.endpoint(URL, events=["*"])
    house = await still.endpoint(URL, events=["order.*"], owner=None)
    more = [message(4), message(5, type_="payment.received"), message(6, owner=None), message(7, owner="x")]
    assert await publish(still, *more) == 5
    rows = [(row["message_id"], row["endpoint_id"]) for row in await still.deliveries()]
    assert sorted(rows) == sorted(
        [("evt_4", mine), ("evt_4", house), ("evt_5", mine), ("evt_6", house), ("evt_7", house)]
    )
    assert len(await still.fetch("SELECT FROM webhooks.messages")) == 7


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_change_between_reading_and_making_is_read_again(still, monkeypatch, times):
    await still.endpoint(URL, events=["order.*"])
    done = []
    really = asking._spread

    async def interrupted(tx, *arguments):
        if len(done) < times and len(done) < asking._PATIENCE:  # from then on nobody can change anything
            done.append(await still.endpoint(URL, events=["order.*"]))
        return await really(tx, *arguments)

    monkeypatch.setattr(asking, "_spread", interrupted)
    assert await publish(still, message(1)) == 1 + len(done)
    assert len(await still.deliveries()) == 1 + len(done)


async def test_a_tenth_of_the_deliveries_failing_is_told(still):
    await still.endpoint(URL, events=["order.*"])
    await publish(still, *(message(i) for i in range(30)))
    assert await watching.find_failure_rate(still.ctx) == []
    insert = """INSERT INTO webhooks.attempts (delivery_id, delivery_at, number, claim, trigger, outcome)
                SELECT id, created_at, $1, 1, 'event', $2 FROM
                (SELECT * FROM webhooks.deliveries ORDER BY id LIMIT $3) d"""
    await still.set(insert, 1, "delivered", 30)
    await still.set(insert, 2, "failed", 3)
    assert await watching.find_failure_rate(still.ctx) == []
    await still.set("DELETE FROM webhooks.attempts WHERE number = 2")
    await still.set(insert, 2, "failed", 4)
    (finding,) = await watching.find_failure_rate(still.ctx)
    assert finding.message == "4 of the last 30 deliveries failed (13%)"
