"""From a published event to the receiver, through the real engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest

from wharfd.testing import answers
from wharfd_webhooks.model.keys import new_key
from wharfd_webhooks.model.signing import sign


def body(request):
    return msgspec.json.decode(request.body)


async def test_an_event_reaches_everyone_who_asked(house, receiver):
    one = await house.endpoint(f"{receiver.url}/one", events=["order.*"])
    two = await house.endpoint(f"{receiver.url}/two", events=["order.failed"])
    three = await house.endpoint(f"{receiver.url}/three", owner="other")
    everybody = await house.endpoint(f"{receiver.url}/house", owner=None)
    (event_id,) = await house.publish(house.created(order_id="o1", amount=5, subject="o1"))
    await house.settled(2)
    assert sorted(r.path for r in receiver.requests) == ["/house", "/one"]
    sent = body(receiver.requests[0])
    assert sent["id"] == event_id
    assert sent["type"] == "order.created"
    assert sent["data"] == {"order_id": "o1", "amount": 5, "customer": "c1"}
    assert receiver.requests[0].header("webhook-id") == event_id
    assert {d["endpoint_id"] for d in await house.deliveries()} == {one, everybody}
    assert await house.deliveries(two) == await house.deliveries(three) == []
    (attempt, _) = await house.attempts()
    assert (attempt["outcome"], attempt["status"], attempt["number"]) == ("delivered", 200, 1)


async def test_the_signature_fits_every_secret_that_overlaps(house, receiver):
    keys = [new_key(), new_key("v1a")]
    await house.endpoint(receiver.url, keys=keys, legacy="x-webhook", headers={"X-Mine": "1"})
    await house.publish(house.created(order_id="o1"))
    await house.settled(1)
    (request,) = receiver.requests
    expected = sign(
        request.header("webhook-id"), int(request.header("webhook-timestamp")), request.body, keys[::-1]
    )
    assert request.header("webhook-signature") == expected
    assert request.header("x-webhook-signature").startswith("sha256=")
    assert request.header("x-mine") == "1"


async def test_a_failure_is_tried_again_with_the_same_id_and_a_record_of_each(house, receiver):
    receiver.script(answers.status(500, b"oops"), answers.close(), answers.status(200))
    endpoint = await house.endpoint(receiver.url)
    await house.publish(house.created(order_id="o1"))
    await house.settled(1)
    assert len({r.header("webhook-id") for r in receiver.requests}) == 1
    attempts = await house.attempts()
    assert [(a["number"], a["outcome"], a["status"], a["error_kind"]) for a in attempts] == [
        (1, "failed", 500, None),
        (2, "failed", None, "reset"),
        (3, "delivered", 200, None),
    ]
    assert attempts[0]["response_body"] == "oops"
    row = await house.get(endpoint)
    assert (row["failure_count"], row["first_failed_at"]) == (0, None)


async def test_it_is_given_up_after_the_last_try_and_told_to_others(house, receiver):
    receiver.on("/bad", answers.status(500))
    bad = await house.endpoint(f"{receiver.url}/bad", events=["order.*"])
    told = await house.endpoint(f"{receiver.url}/told", events=["delivery.exhausted"])
    await house.publish(house.created(order_id="o1"))
    await house.settled(2)
    (row,) = await house.deliveries(bad)
    assert row["state"] == "buried"
    assert row["attempts"] == 4
    (news,) = [body(r) for r in receiver.requests if r.path == "/told"]
    assert news["data"]["delivery_id"] == row["id"]
    assert news["data"]["endpoint_id"] == bad
    assert len(await house.deliveries(told)) == 1


async def test_news_about_deliveries_makes_no_news(opened, quick, receiver):
    receiver.answer = answers.status(500)
    async with opened(quick(open_after=100)) as house:
        await house.endpoint(f"{receiver.url}/a")
        await house.endpoint(f"{receiver.url}/b")
        await house.publish(house.created(order_id="o1"))
        # Two deliveries of the order; news of its two ends goes to the other endpoint each; then it is quiet.
        states = await house.settled(4)
        assert states == {"buried": 4}
        assert len(await house.fetch("SELECT FROM webhooks.messages")) == 3


async def test_gone_disables_and_parks_what_else_there_is(house, receiver):
    receiver.answer = answers.status(410)
    endpoint = await house.endpoint(receiver.url)
    told = await house.endpoint(f"{receiver.url}/told", events=["endpoint.*"])
    receiver.on("/told", answers.status(204))
    await house.publish(house.created(order_id="o1"))
    await house.settled(2)
    row = await house.get(endpoint)
    assert (row["status"], row["status_reason"]) == ("disabled", "it answered 410 Gone")
    assert len(await house.deliveries(told)) == 1
    await house.publish(house.created(order_id="o2"))
    assert len(await house.deliveries(endpoint)) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_rests_the_whole_endpoint(house, receiver, status, form):
    after = (
        "3600" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    )
    receiver.script(answers.status(status, headers=[("Retry-After", after)]))
    endpoint = await house.endpoint(receiver.url, max_in_flight=1)
    await house.publish(house.created(order_id="o1"))
    await receiver.wait_for(1)
    await house.until(lambda: _rests(house, endpoint))
    await house.publish(house.created(order_id="o2"))
    await house.reached(1, "held")
    (first, second) = await house.deliveries()
    assert first["state"] == "ready"
    assert (await house.fetch("SELECT $1::timestamptz - now() > interval '55 minutes'", first["due_at"]))[0][
        0
    ]
    assert second["attempts"] == 0
    assert len(receiver.requests) == 1
    assert (await house.get(endpoint))["failure_count"] == (1 if status == 503 else 0)


async def test_a_storm_of_503_costs_a_few_requests(house, receiver):
    receiver.answer = answers.status(503, headers=[("Retry-After", "3600")])
    endpoint = await house.endpoint(receiver.url)
    await house.publish(*(house.created(f"o{i}") for i in range(40)))
    await house.until(lambda: _rests(house, endpoint))
    await house.publish(*(house.created(f"p{i}") for i in range(40)))

    async def all_put_off():
        rows = await house.deliveries()
        return len(rows) == 80 and all(
            row["state"] == "held" or (row["state"] == "ready" and row["attempts"]) for row in rows
        )

    await house.until(all_put_off, 30)
    # What was under way when the first answer came: a dozen, on a busy machine more, but none of the second 40.
    assert len(receiver.requests) <= 40
    assert len(await house.attempts()) == len(receiver.requests)


async def _rests(house, endpoint):
    return (await house.get(endpoint))["breaker_until"] is not None


async def test_the_breaker_opens_probes_and_lets_everything_go(opened, quick, receiver):
    receiver.answer = answers.status(500)
    settings = quick(open_after=2, rest=timedelta(seconds=0.3), delays=(0.01,) * 20)
    async with opened(settings) as house:
        endpoint = await house.endpoint(receiver.url, max_in_flight=1)
        await house.publish(*(house.created(order_id=f"o{i}") for i in range(10)))
        await house.until(lambda: _rests(house, endpoint))
        await house.reached(5, "held")
        seen = len(receiver.requests)
        receiver.answer = answers.status(200)

        async def probed():
            await house.sender.sweep()
            return len(receiver.requests) > seen

        await house.until(probed)
        await house.until(lambda: _all_done(house, 10))
        row = await house.get(endpoint)
        assert (row["failure_count"], row["breaker_until"], row["breaker_opened"]) == (0, None, 0)


async def _all_done(house, count):
    await house.sender.sweep()
    return (await house.states()).get("done", 0) == count


async def test_a_deleted_endpoint_ends_its_deliveries_quietly(house, receiver):
    endpoint = await house.endpoint(receiver.url)
    await house.publish(house.failed(order_id="o0"))
    await house.settled(1)
    receiver.script(answers.status(500))
    await house.publish(house.created(order_id="o1"))
    await receiver.wait_for(2)
    await house.set(
        "UPDATE webhooks.endpoints SET status = 'deleted', version = version + 1 WHERE id = $1", endpoint
    )
    states = await house.settled(2)
    assert states == {"done": 1, "cancelled": 1}


async def test_a_changed_endpoint_is_read_anew_for_the_next_try(house, receiver):
    receiver.on("/old", answers.status(500))
    endpoint = await house.endpoint(f"{receiver.url}/old")
    await house.publish(house.created(order_id="o1"))
    await receiver.wait_for(1)
    await house.set(
        "UPDATE webhooks.endpoints SET url = $2, version = version + 1 WHERE id = $1",
        endpoint,
        f"{receiver.url}/new",
    )
    await house.settled(1)
    assert receiver.requests[-1].path == "/new"


async def test_many_at_once_are_written_together(house, receiver):
    await house.endpoint(receiver.url)
    await house.publish(*(house.created(order_id=f"o{i}") for i in range(100)))
    states = await house.settled(100)
    assert states == {"done": 100}
    assert len(receiver.requests) == 100
    assert house.sender.begin.groups < 100
    assert house.sender.gates.in_flight() == 0
