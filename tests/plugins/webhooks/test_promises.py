"""Order, at most once, resend, transforms, fairness: what is promised beside delivering."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
import trio

from wharfd.contracts.webhooks import Change, Skip
from wharfd.db import sql
from wharfd.testing import answers


def orders(receiver, path=None):
    found = [r for r in receiver.requests if path is None or r.path == path]
    return [msgspec.json.decode(r.body)["data"]["order_id"] for r in found]


@pytest.mark.parametrize("skip", [False, True])
async def test_one_key_goes_in_order_and_a_dead_letter_blocks_or_skips(opened, quick, receiver, skip):
    async with opened(quick(delays=(0.01,), open_after=100)) as house:
        receiver.script(answers.status(500), answers.status(200), answers.status(500), answers.status(500))
        await house.endpoint(receiver.url, order_by="data.customer", order_failed="skip" if skip else "block")
        for i in range(5):  # one transaction each, so that they have an order
            await house.publish(house.created(f"o{i}"))
            await house.until(lambda i=i: _deliveries(house, i + 1))
        if skip:
            await house.settled(5)
            assert orders(receiver) == ["o0", "o0", "o1", "o1", "o2", "o3", "o4"]
            return
        await house.reached(1, "buried")
        assert await house.states() == {"done": 1, "buried": 1, "ready": 3}
        (buried,) = [d for d in await house.deliveries() if d["state"] == "buried"]
        await house.set("UPDATE webhooks.deliveries SET state = 'cancelled' WHERE id = $1", buried["id"])
        house.sender.wake(["ordered"])
        await house.settled(5)
        assert orders(receiver) == ["o0", "o0", "o1", "o1", "o2", "o3", "o4"]


async def _deliveries(house, count):
    return len(await house.deliveries()) >= count


async def test_other_keys_do_not_wait(opened, quick, receiver):
    async with opened(quick(delays=(3600,), open_after=100)) as house:
        receiver.script(answers.status(500))
        await house.endpoint(receiver.url, order_by="data.customer")
        await house.publish(house.created("a1", customer="a"))
        await receiver.wait_for(1)
        await house.publish(house.created("a2", customer="a"), house.created("b1", customer="b"))
        await house.reached(1, "done")
        assert orders(receiver) == ["a1", "b1"]


async def test_a_transform_changes_skips_or_holds_back(opened, quick, receiver):
    from types import SimpleNamespace

    async def hook(delivery):
        if delivery.transform == "slim":
            return Change({"only": delivery.body["data"]["order_id"]}, {"X-Slim": "yes"})
        return Skip("not for them") if delivery.transform == "never" else None

    async def call(name, **arguments):
        return [await hook(**arguments)]

    async with opened(quick(delays=(0.01,)), hooks=SimpleNamespace(call=call)) as house:
        await house.endpoint(f"{receiver.url}/slim", transform="slim", events=["order.*"])
        skipped = await house.endpoint(f"{receiver.url}/never", transform="never", events=["order.*"])
        nobody = await house.endpoint(f"{receiver.url}/nobody", transform="nobody", events=["order.*"])
        await house.publish(house.created("o1"))
        await house.settled(3)
        sent = [r for r in receiver.requests if r.path == "/slim"]
        assert msgspec.json.decode(sent[0].body) == {"only": "o1"}
        assert sent[0].header("x-slim") == "yes"
        assert (await house.deliveries(skipped))[0]["state"] == "cancelled"
        assert (await house.deliveries(nobody))[0]["state"] == "buried"
        assert {r.path for r in receiver.requests} == {"/slim"}


async def test_a_rate_is_kept_and_costs_no_attempt(house, receiver):
    await house.endpoint(receiver.url, rate_per_second=20.0)
    await house.publish(*(house.created(f"o{i}") for i in range(10)))
    await house.settled(10)
    times = sorted(r.at for r in receiver.requests)
    assert times[-1] - times[0] >= 0.4
    assert {d["attempts"] for d in await house.deliveries()} == {1}


async def test_in_flight_is_bounded_per_endpoint(house, receiver):
    running = most = 0

    async def slow(conversation):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.02)
        running -= 1
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.answer = slow
    await house.endpoint(receiver.url, max_in_flight=3)
    await house.publish(*(house.created(f"o{i}") for i in range(20)))
    await house.settled(20)
    assert 2 <= most <= 3


async def test_a_black_hole_delays_nobody(opened, quick, receiver):
    settings = quick(timeout=timedelta(seconds=40), concurrency=32, delays=(3600,))
    async with opened(settings) as house:
        receiver.on("/hole", answers.hang())
        hole = await house.endpoint(f"{receiver.url}/hole", events=["order.created"])
        await house.publish(*(house.created(f"h{i}") for i in range(200)))
        well = await house.endpoint(f"{receiver.url}/well", events=["order.failed"])
        await house.publish(*(house.failed(f"w{i}") for i in range(200)))

        async def well_done():
            rows = await house.deliveries(well)
            return len(rows) == 200 and all(row["state"] == "done" for row in rows)

        await house.until(well_done, 20)  # half of what the hole may take for each of its own
        assert len([r for r in receiver.requests if r.path == "/hole"]) <= 4
        assert {row["attempts"] for row in await house.deliveries(hole) if row["state"] == "held"} <= {0}


async def test_a_resend_that_fails_leaves_the_schedule_as_it_was(opened, quick, receiver):
    from wharfd_webhooks.store import deliveries as store

    async with opened(quick(delays=(3600, 3600))) as house:
        receiver.answer = answers.status(500)
        await house.endpoint(receiver.url)
        await house.publish(house.created())
        await receiver.wait_for(1)

        async def waits():
            (row,) = await house.deliveries()
            return row if row["state"] == "ready" and row["attempts"] == 1 else None

        before = await house.until(waits)
        shown = await store.get(house.db, before["id"], None)
        async with house.db.transaction() as tx:
            assert await store.resend(tx, shown) == "free"
        house.sender.wake(["free"])
        await receiver.wait_for(2)

        async def back():
            (row,) = await house.deliveries()
            return row if row["state"] == "ready" and row["trigger"] == "event" else None

        after = await house.until(back)
        assert (after["due_at"], after["attempts"], after["resume"]) == (before["due_at"], 1, None)
        assert [a["trigger"] for a in await house.attempts()] == ["event", "resend"]


async def test_every_list_is_served_by_an_index(opened, quick):
    async with opened(work=False) as house:
        for owner in ("acme", "other"):
            for i in range(20):
                await house.endpoint(f"http://127.0.0.1:9/{i}", owner=owner)
        await house.db.owner.execute(sql("test.fill", """
            INSERT INTO webhooks.endpoints (id, owner, url, events, max_in_flight)
            SELECT 'wh_' || i, 'owner' || i % 500, 'http://127.0.0.1:9/', '{a}', 1 FROM generate_series(1, 5000) i;
            INSERT INTO webhooks.messages (id, type, owner, source, trace_id, body)
            SELECT 'evt_' || i, 'order.created', 'acme', 'event', 't' || i, '{}' FROM generate_series(1, 5000) i;
            INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, message_at, type, order_key, state, finished_at)
            SELECT 'dlv_' || lpad(i::text, 8, '0'), e.id, 'evt_' || (i % 5000), now(), 'order.created', e.id,
                   CASE WHEN i % 500 = 0 THEN 'buried' WHEN i % 501 = 0 THEN 'held' ELSE 'done' END, now()
              FROM (SELECT i, (SELECT array_agg(id ORDER BY id) FROM webhooks.endpoints WHERE max_in_flight = 16) AS ids
                      FROM generate_series(1, 40000) i) x
             CROSS JOIN LATERAL (SELECT ids[1 + i % 40] AS id) e;
            INSERT INTO webhooks.attempts (delivery_id, delivery_at, number, claim, trigger, outcome)
            SELECT id, created_at, 1, 1, 'event', 'delivered' FROM webhooks.deliveries;
            ANALYZE webhooks.messages; ANALYZE webhooks.deliveries; ANALYZE webhooks.attempts;
            ANALYZE webhooks.endpoints"""))  # fmt: skip
        from wharfd_webhooks import watching
        from wharfd_webhooks.store import deliveries, endpoints, messages, senders

        (endpoint, *_) = await house.fetch(
            "SELECT id FROM webhooks.endpoints WHERE max_in_flight = 16 ORDER BY id LIMIT 1"
        )
        none = [None] * 5
        plans = {
            "all": (deliveries.LISTS[""], [None, endpoint["id"], None, None, None, None, 51], "endpoint_id"),
            "failed": (deliveries.LISTS["failed"], ["acme", *none, 51], "endpoint_id_state_id"),
            "parked": (deliveries.LISTS["parked"], ["acme", *none, 51], "endpoint_id_state_id"),
            "one": (deliveries.GET, ["dlv_00000007", None, None], "pkey"),
            "of_message": (deliveries.OF_MESSAGE, ["evt_7", None], "message_id"),
            "trace": (messages.TRACED, ["t7", None], "trace_id"),
            "endpoints": (endpoints.LIST_OWN, ["acme", None, 51], "endpoints_"),
            "failure rate": (watching.FAILURE_RATE, ["dlv_00039000", 900.0, 10_000], "pkey"),
            "release": (senders.RELEASE, [endpoint["id"], 10, 1.0], "endpoint_id_state_id"),
        }
        for name, (statement, arguments, index) in plans.items():
            plan = await house.db.explain(statement, *arguments)
            text = plan if isinstance(plan, str) else msgspec.json.encode(plan).decode()
            assert index in text, (name, text)
            assert "Seq Scan on deliveries" not in text, (name, text)
            assert "Seq Scan on messages" not in text, (name, text)
            assert "Seq Scan on attempts" not in text, (name, text)
