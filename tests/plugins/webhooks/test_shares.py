"""Limits of an endpoint hold over all daemons together."""

from __future__ import annotations

from datetime import timedelta

import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd import Snooze
from wharfd_webhooks.recovering import CancelAll, cancel_all
from wharfd_webhooks.sending.shares import own_id, share


@given(most=st.integers(1, 256), daemons=st.integers(1, 20), endpoint=st.text(max_size=20))
def test_the_shares_add_up(most, daemons, endpoint):
    parts = [share(most, daemons, place, endpoint) for place in range(daemons)]
    assert sum(parts) == max(most, daemons)
    assert max(parts) - min(parts) <= 1


def test_a_daemon_that_comes_back_is_the_same_sender(tmp_path):
    assert own_id(tmp_path / "one") == own_id(tmp_path / "one" / ".")
    assert own_id(tmp_path / "one") != own_id(tmp_path / "two")
    assert own_id(None) != own_id(None)


async def settled(one, two, count):
    """Wait until all are delivered; what a busy machine made one of them park is swept up as in a daemon."""

    async def check():
        await one.sender.sweep()
        await two.sender.sweep()
        return (await one.states()).get("done", 0) == count

    await one.until(check, 60)


async def test_two_daemons_keep_one_limit(opened, receiver):
    running = most = 0

    async def slow(conversation):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.02)
        running -= 1
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver.answer = slow
    async with opened() as one, opened(node="two") as two:
        await one.sender.shares.beat()
        await two.sender.shares.beat()
        assert {(h.sender.shares.daemons, h.sender.shares.place) for h in (one, two)} == {(2, 0), (2, 1)}
        wide = await one.endpoint(f"{receiver.url}/wide", events=["order.created"], max_in_flight=3)
        await one.publish(*(one.created(f"o{i}") for i in range(20)))
        await settled(one, two, 20)
        assert most <= 3
        most = 0
        narrow = await one.endpoint(f"{receiver.url}/narrow", events=["order.failed"], max_in_flight=1)
        await two.publish(*(two.failed(f"o{i}") for i in range(6)))
        await settled(one, two, 26)
        assert most == 1
        assert await one.fetch("SELECT FROM webhooks.turns") == []
        for endpoint_id in (wide, narrow):
            assert {row["attempts"] for row in await one.deliveries(endpoint_id)} == {1}
        await two.sender.shares.leave()
        await one.sender.shares.beat()
        assert one.sender.shares.daemons == 1


async def test_turns_are_as_many_as_the_endpoint_takes_and_end_with_their_daemon(opened, quick):
    async with opened(quick(timeout=timedelta(seconds=0.5))) as house:
        turns = house.sender.turns
        turns_of_the_dead = await turns.take("wh_1", "dlv_0", 2)
        assert (turns_of_the_dead, await turns.take("wh_1", "dlv_1", 2)) == (0, 1)
        await turns.give("wh_1", "dlv_2", 1)  # not its own
        with trio.move_on_after(0.3) as asking:
            await turns.take("wh_1", "dlv_2", 2)
        assert asking.cancelled_caught
        assert await turns.take("wh_2", "dlv_2", 1) == 0
        await turns.give("wh_1", "dlv_1", 1)
        assert await turns.take("wh_1", "dlv_2", 2) == 1
        await house.set("UPDATE webhooks.turns SET until = now() WHERE delivery_id = 'dlv_0'")
        assert await turns.take("wh_1", "dlv_3", 2) == 0


async def test_nothing_is_parked_at_an_endpoint_that_another_daemon_switched_on(opened, receiver):
    switch = "UPDATE webhooks.endpoints SET status = $2, version = version + 1 WHERE id = $1"
    async with opened() as house:
        endpoint = await house.endpoint(receiver.url, events=["order.created"])
        await house.set(switch, endpoint, "paused")
        known = await house.sender.directory.find(endpoint)
        assert known is not None
        assert known.status == "paused"
        await house.set(switch, endpoint, "active")  # as another daemon does: nobody is told
        await house.publish(*(house.created(f"o{i}") for i in range(3)))
        await house.settled(3)
        assert await house.states() == {"done": 3}


async def test_what_a_worker_parks_while_its_endpoint_is_deleted_is_cancelled_too(opened, receiver):
    async with opened() as house:
        endpoint = await house.endpoint(receiver.url, events=["order.created"])
        await house.publish(house.created())
        await house.settled(1)
        state = "UPDATE webhooks.deliveries SET state = $1"
        await house.set(state, "running")
        job = CancelAll(endpoint)
        assert isinstance(await cancel_all(house.ctx, job, None), Snooze)
        await house.set(state, "held")
        assert await cancel_all(house.ctx, job, None) is None
        assert await house.states() == {"cancelled": 1}
