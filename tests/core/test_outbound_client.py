"""The outbound client against a zoo of receivers."""

import socket

import pytest
import trio

from wharfd.http.outbound import (
    AddressRefused,
    AnswerBroken,
    AnswerHeadTooLarge,
    ConnectFailed,
    ConnectionLost,
    HeaderRefused,
    Limits,
    NameNotResolved,
    NetworkPolicy,
    OutboundClient,
    OutboundError,
    OutboundTimeout,
    UrlRefused,
)
from wharfd.testing import answers

LAN = NetworkPolicy(allow_networks=("127.0.0.0/8",))


@pytest.fixture
async def make_client():
    """Make clients that are closed at the end."""
    made = []

    def make(policy=LAN, **keywords):
        made.append(OutboundClient(policy, **keywords))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
async def client(make_client):
    return make_client(user_agent="wharfd/test")


def resolver(*answers):
    """Give one answer after the other; the last one stays."""
    rest = list(answers)

    async def resolve(host, port):
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return resolve


async def test_a_request_arrives_as_given(client, receiver):
    receiver.script(answers.status(201, b"made", [("X-Reply", "yes")]))
    answer = await client.request(
        "POST",
        receiver.url + "/hook?x=1",
        headers=[("Webhook-ID", "msg_1"), ("X-A", "b")],
        body=b"{}",
        deadline=5,
    )
    assert (answer.status, answer.body, answer.header("x-reply")) == (201, b"made", "yes")
    assert (answer.truncated, answer.http_version, answer.request_sent) == (False, "1.1", "all")
    assert answer.peer == ("127.0.0.1", receiver.port)
    assert answer.timings.total >= answer.timings.first_byte > 0
    (seen,) = await receiver.wait_for(1)
    assert (seen.method, seen.target, seen.body) == ("POST", "/hook?x=1", b"{}")
    assert seen.headers == (
        ("Host", f"127.0.0.1:{receiver.port}"),
        ("Webhook-ID", "msg_1"),
        ("X-A", "b"),
        ("User-Agent", "wharfd/test"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("Content-Length", "2"),
    )


async def test_a_large_body_arrives_whole(client, receiver):
    body = bytes(range(256)) * 8192
    await client.request("POST", receiver.url, body=body, deadline=5)
    assert (await receiver.wait_for(1))[0].body == body


async def test_connections_are_reused(client, receiver):
    for _ in range(5):
        await client.request("POST", receiver.url, deadline=5)
    assert receiver.connections == 1
    assert client.statistics().reused == 4


@pytest.mark.parametrize("code", [200, 204, 301, 302, 304, 307, 404, 410, 429, 500, 503])
async def test_every_status_is_an_answer(client, receiver, code):
    receiver.answer = answers.status(
        code, headers=[("Location", "http://169.254.169.254/"), ("Retry-After", "7")]
    )
    answer = await client.request("POST", receiver.url, deadline=5)
    assert (answer.status, answer.header("retry-after")) == (code, "7")
    again = await client.request("POST", receiver.url, deadline=5)
    assert again.reused
    assert len(receiver.requests) == 2, "a redirect must not be followed"


async def test_head_has_no_body_and_is_not_confused_by_its_length(client, receiver):
    receiver.answer = answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", close=False)
    answer = await client.request("HEAD", receiver.url, deadline=5)
    assert (answer.status, answer.body) == (200, b"")


async def test_slow_head_ends_at_the_deadline(client, receiver):
    receiver.answer = answers.slow_head()
    with pytest.raises(OutboundTimeout) as caught:
        await client.request("POST", receiver.url, body=b"x", deadline=0.2)
    assert (caught.value.request_sent, caught.value.status) == ("all", None)


async def test_slow_body_ends_at_the_deadline_and_tells_the_status(client, receiver):
    receiver.answer = answers.slow_body()
    start = trio.current_time()
    with pytest.raises(OutboundTimeout) as caught:
        await client.request("POST", receiver.url, body=b"x", deadline=0.2)
    assert trio.current_time() - start < 10
    assert (caught.value.request_sent, caught.value.status, caught.value.phase) == ("all", 200, "body")


async def test_a_silent_receiver_ends_at_the_deadline(client, receiver):
    receiver.answer = answers.hang()
    with pytest.raises(OutboundTimeout) as caught:
        await client.request("POST", receiver.url + "/secret-path?token=hidden", body=b"x", deadline=0.1)
    assert (caught.value.kind, caught.value.phase) == ("timeout", "first_byte")
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_an_endless_body_is_cut(client, receiver, size):
    receiver.answer = answers.endless_body()
    answer = await client.request("POST", receiver.url, deadline=5, max_response_bytes=size)
    assert (answer.status, answer.truncated, len(answer.body)) == (200, True, size)
    assert client.statistics().idle == 0


async def test_a_body_of_exactly_the_cap_is_whole(client, receiver):
    receiver.answer = answers.status(200, b"x" * 100)
    answer = await client.request("POST", receiver.url, deadline=5, max_response_bytes=100)
    assert (answer.truncated, len(answer.body)) == (False, 100)


async def test_endless_trailers_are_refused(client, receiver):
    receiver.answer = answers.endless_trailers()
    with pytest.raises(AnswerBroken):
        await client.request("POST", receiver.url, deadline=5)


async def test_a_gzip_bomb_stays_packed(client, receiver):
    receiver.answer = answers.gzip_bomb(5_000_000)
    answer = await client.request("POST", receiver.url, deadline=5, max_response_bytes=100_000)
    assert answer.header("content-encoding") == "gzip"
    assert answer.body.startswith(b"\x1f\x8b")
    assert len(answer.body) < 10_000


async def test_reset_after_the_request(client, receiver):
    receiver.answer = answers.reset()
    with pytest.raises(ConnectionLost) as caught:
        await client.request("POST", receiver.url, body=b"x", deadline=5)
    assert (caught.value.kind, caught.value.request_sent) == ("reset", "all")
    assert len(receiver.requests) == 1, "a request that was sent is not sent again"


async def test_closed_without_an_answer(client, receiver):
    receiver.answer = answers.close()
    with pytest.raises(ConnectionLost, match="before an answer"):
        await client.request("POST", receiver.url, deadline=5)


async def test_cut_body(client, receiver):
    receiver.answer = answers.cut_body()
    with pytest.raises(ConnectionLost) as caught:
        await client.request("POST", receiver.url, deadline=5)
    assert caught.value.status == 200


async def test_informational_answers_are_passed_over(client, receiver):
    receiver.answer = answers.informational_flood(20)
    answer = await client.request("POST", receiver.url, deadline=5)
    assert (answer.status, answer.body, answer.header("link")) == (200, b"ok", None)


async def test_an_informational_flood_is_refused(client, receiver):
    receiver.answer = answers.informational_flood()
    with pytest.raises(AnswerHeadTooLarge) as caught:
        await client.request("POST", receiver.url, deadline=5)
    assert (caught.value.kind, caught.value.request_sent) == ("too_large_headers", "all")


async def test_http_1_0_ends_with_the_connection(client, receiver):
    receiver.answer = answers.http_1_0(b"old body")
    answer = await client.request("POST", receiver.url, deadline=5)
    assert (answer.http_version, answer.body, answer.truncated) == ("1.0", b"old body", False)
    assert client.statistics().idle == 0


async def test_a_huge_head_is_refused(client, receiver):
    receiver.answer = answers.huge_head()
    with pytest.raises(AnswerHeadTooLarge):
        await client.request("POST", receiver.url, deadline=5)


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"<html>hello</html>\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(client, receiver, junk):
    receiver.answer = answers.raw(junk)
    with pytest.raises(AnswerBroken) as caught:
        await client.request("POST", receiver.url, deadline=5)
    assert (caught.value.kind, caught.value.request_sent) == ("protocol", "all")
    assert client.statistics().idle == 0


async def test_bytes_after_the_answer_close_the_connection(client, receiver):
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    receiver.script(answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + smuggled, close=False))
    assert (await client.request("POST", receiver.url, deadline=5)).body == b"ok"
    assert (await client.request("POST", receiver.url, deadline=5)).body == b""
    assert receiver.connections == 2


async def test_a_connection_closed_while_idle_is_replaced(client, receiver):
    receiver.script(answers.close_while_idle())
    await client.request("POST", receiver.url, deadline=5)
    answer = await client.request("POST", receiver.url, body=b"again", deadline=5)
    assert (answer.status, answer.reused) == (200, False)
    assert [seen.connection for seen in receiver.requests] == [1, 2]


async def test_a_link_that_dies_unsent_is_replaced_once(client, receiver):
    await client.request("POST", receiver.url, deadline=5)
    (link,) = client._pool._idle
    link.wire.socket.shutdown(socket.SHUT_WR)  # sends fail at once; nothing has come from the other side yet
    link.quiet = lambda: True
    answer = await client.request("POST", receiver.url, body=b"again", deadline=5)
    assert (answer.status, answer.reused, client.statistics().resent) == (200, False, 1)
    assert len(receiver.requests) == 2


async def test_an_answer_to_a_request_that_is_not_read_to_its_end(client):
    async def refuse(stream):
        await stream.receive_some(100)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, refuse, [listener])
        port = listener.socket.getsockname()[1]
        answer = await client.request("POST", f"http://127.0.0.1:{port}/", body=bytes(1_000_000), deadline=5)
        assert answer.status == 413
        nursery.cancel_scope.cancel()


async def test_nobody_listens(client):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            await client.request("POST", f"http://127.0.0.1:{held.getsockname()[1]}/", deadline=5)
    assert (caught.value.kind, caught.value.request_sent) == ("connect", "none")


async def test_connecting_has_a_deadline_of_its_own(client):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        queued = [socket.socket() for _ in range(4)]
        for one in queued:  # fill the backlog: further SYNs are dropped
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(OutboundTimeout) as caught:
            await client.request("POST", f"http://127.0.0.1:{port}/", deadline=5, connect_deadline=0.2)
        for one in queued:
            one.close()
    assert (caught.value.phase, caught.value.request_sent) == ("connect", "none")


async def test_the_second_address_is_tried(receiver, make_client):
    client = make_client(resolver=resolver(["127.0.0.77", "127.0.0.1"]))
    # the receiver listens on 127.0.0.1 only, so the first address refuses
    answer = await client.request("POST", f"http://shop.example:{receiver.port}/", deadline=5)
    assert answer.peer[0] == "127.0.0.1"
    assert receiver.requests[0].header("host") == f"shop.example:{receiver.port}"


async def test_one_bad_address_refuses_the_host(receiver, make_client):
    client = make_client(resolver=resolver(["127.0.0.1", "10.0.0.1"]))
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1") as caught:
        await client.request("POST", f"http://shop.example:{receiver.port}/", deadline=5)
    assert caught.value.request_sent == "none"
    assert receiver.connections == 0
    assert client.statistics().refused == 1


async def test_dns_that_flips_reaches_nothing(receiver, make_client):
    lookups = []

    async def flipping(host, port):
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    client = make_client(resolver=flipping)
    url = f"http://shop.example:{receiver.port}/"
    receiver.script(answers.status(200, close=True))
    await client.request("POST", url, deadline=5)
    assert len(lookups) == 1, "one look-up for vetting and connecting"
    with pytest.raises(AddressRefused, match="metadata"):
        await client.request("POST", url, deadline=5)
    assert len(receiver.requests) == 1


async def test_an_open_connection_does_not_serve_a_stricter_policy(receiver, make_client):
    client = make_client()
    await client.request("POST", receiver.url, deadline=5)
    with pytest.raises(AddressRefused):
        await client.request("POST", receiver.url, deadline=5, policy=NetworkPolicy())


async def test_the_default_policy_refuses_this_machine(receiver, make_client):
    client = make_client(NetworkPolicy())
    for url in (
        receiver.url,
        f"http://localhost:{receiver.port}/",
        f"http://[::ffff:127.0.0.1]:{receiver.port}/",
    ):
        with pytest.raises(AddressRefused):
            await client.request("POST", url, deadline=5)
        with pytest.raises(AddressRefused):
            await client.vet_host(url)
    assert receiver.connections == 0


async def test_a_name_without_address(client, make_client):
    with pytest.raises(NameNotResolved) as caught:
        await client.request("POST", "http://does-not-exist.invalid/", deadline=5)
    assert caught.value.kind == "dns"
    empty = make_client(resolver=resolver([]))
    with pytest.raises(NameNotResolved):
        await empty.request("POST", "http://shop.example/", deadline=5)


async def test_a_dead_name_server_costs_its_own_budget_only(make_client):
    async def never(host, port):
        await trio.sleep_forever()

    client = make_client(resolver=never, limits=Limits(dns_seconds=0.1))
    with pytest.raises(OutboundTimeout) as caught:
        await client.request("POST", "http://shop.example/", deadline=5)
    assert caught.value.phase == "dns"


async def test_bad_input_sends_nothing(client, receiver):
    for error, keywords in (
        (HeaderRefused, {"headers": {"X-A": "b\r\nc"}}),
        (HeaderRefused, {"headers": {"Host": "evil.example"}}),
        (HeaderRefused, {"headers": [(f"X-{n}", "1") for n in range(101)]}),
    ):
        with pytest.raises(error):
            await client.request("POST", receiver.url, deadline=5, **keywords)
    with pytest.raises(UrlRefused):
        await client.request("POST", "http://user@127.0.0.1/", deadline=5)
    with pytest.raises(OutboundError, match="method"):
        await client.request("CONNECT", receiver.url, deadline=5)
    assert receiver.connections == 0
    assert client.statistics().failures == 5


async def test_one_destination_cannot_fill_the_client(receiver, make_client):
    client = make_client(resolver=resolver(["127.0.0.1"]), limits=Limits(per_destination=2, total=3))
    receiver.answer = answers.hang()
    receiver.on("/fine", answers.status(200))

    async def stuck():
        await client.request("POST", receiver.url + "/black-hole", deadline=600)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(stuck)
        await receiver.wait_for(2)
        answer = await client.request("POST", f"http://fine.example:{receiver.port}/fine", deadline=60)
        assert answer.status == 200
        assert len([seen for seen in receiver.requests if seen.path == "/black-hole"]) == 2
        nursery.cancel_scope.cancel()


async def test_the_wait_for_a_slot_counts_against_the_deadline(receiver, make_client):
    client = make_client(limits=Limits(per_destination=1))
    receiver.answer = answers.hang()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_timeout, client, receiver.url, 0.4)
        await receiver.wait_for(1)
        with pytest.raises(OutboundTimeout) as caught:
            await client.request("POST", receiver.url, deadline=0.1)
    assert (caught.value.phase, caught.value.request_sent) == ("queue", "none")


async def _expect_timeout(client, url, deadline):
    with pytest.raises(OutboundTimeout):
        await client.request("POST", url, deadline=deadline)


async def test_idle_connections_are_bounded_and_expire(receiver, make_client):
    client = make_client(resolver=resolver(["127.0.0.1"]), limits=Limits(max_idle=3, idle_seconds=0.05))
    for number in range(6):
        await client.request("POST", f"http://h{number}.example:{receiver.port}/", deadline=5)
    assert client.statistics().idle <= 3
    assert client.statistics().destinations <= 3
    await trio.sleep(0.06)  # idle time is what is tested
    await client.request("POST", f"http://h9.example:{receiver.port}/", deadline=5)
    assert (client.statistics().idle, client.statistics().destinations) == (1, 1)
    client.close()
    assert client.statistics().idle == 0


async def test_cancelling_closes_the_connection(client, receiver):
    receiver.answer = answers.hang()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_forever, client, receiver.url)
        await receiver.wait_for(1)
        nursery.cancel_scope.cancel()
    statistics = client.statistics()
    assert (statistics.idle, statistics.active, statistics.destinations) == (0, 0, 0)


async def _forever(client, url):
    await client.request("POST", url, deadline=60)


async def test_many_at_once(client, receiver):
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(_post, client, receiver.url, b"%d" % number)
    assert sorted(int(seen.body) for seen in receiver.requests) == list(range(200))
    assert receiver.connections <= Limits().per_destination


async def _post(client, url, body):
    assert (await client.request("POST", url, body=body, deadline=10)).status == 200


async def test_text_is_fit_for_a_database(client, receiver):
    receiver.answer = answers.status(200, b"a\x00b\xffc\xc3")
    answer = await client.request("POST", receiver.url, deadline=5)
    assert answer.text() == "a\ufffdb\ufffdc\ufffd"
