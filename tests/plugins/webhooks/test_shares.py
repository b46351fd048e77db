"""Limits of an endpoint hold over all daemons together."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st

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
        narrow = await one.endpoint(
            f"{receiver.url}/narrow", events=["order.failed"], max_in_flight=1, order_by="*"
        )
        await two.publish(*(two.failed(f"o{i}") for i in range(6)))
        await settled(one, two, 26)
        assert most == 1
        for endpoint_id in (wide, narrow):
            assert {row["attempts"] for row in await one.deliveries(endpoint_id)} == {1}
        await two.sender.shares.leave()
        await one.sender.shares.beat()
        assert one.sender.shares.daemons == 1
