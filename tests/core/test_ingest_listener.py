"""The listener over real sockets: what goes over the wire, who is turned away, how it stops."""

from __future__ import annotations

import errno
import math
import os
import resource
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import structlog
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wharfd.declare import IngestRoute
from wharfd.errors import CannotListen
from wharfd.ingest import (
    ListenerLimits,
    Observer,
    Reply,
    RouteTable,
    Trust,
    serve_ingest,
)
from wharfd.ingest.transport import SocketTransport, Woken
from wharfd.sockets import open_sockets

GET_HOOK = b"GET /hook HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, headers: bytes = b"", path: bytes = b"/hook") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (path, headers, len(body), body)


class Harness:
    """A running listener; `deliveries` is what its answerer saw."""

    def __init__(self):
        self.deliveries = []
        self.reply = None
        self.hold = None
        self.drain = trio.Event()
        self.answering = trio.Event()

    async def answer(self, route, ctx, delivery):
        self.deliveries.append(delivery)
        self.answering.set()
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply or Reply(200, b'{"length":%d}' % len(delivery.body))

    def take(self, route, ctx, delivery, told):
        async def tell():
            try:
                reply = await self.answer(route, ctx, delivery)
            except Exception:
                reply = Reply(503, b"{}", headers=(("Retry-After", "5"),))
            told(reply)

        self.nursery.start_soon(tell)

    async def connect(self):
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def talk(self, data: bytes, *, finish: bool = True) -> bytes:
        """Send bytes on a connection of its own and return everything that comes back."""
        async with await self.connect() as stream:
            try:
                await stream.send_all(data)
                if finish:
                    await stream.send_eof()
            except trio.BrokenResourceError:
                pass  # an early answer may beat the last of our bytes
            return await read_to_end(stream)

    async def talk_in_vain(self, data: bytes) -> bytes:
        """Like `talk` to a listener that may hang up without reading."""
        try:
            return await self.talk(data)
        except trio.BrokenResourceError:
            return b""


async def condition(holds) -> None:
    """Come back when it holds; the listener's own time limit ends a wait in vain."""
    while not holds():
        await trio.testing.wait_all_tasks_blocked(0.001)


async def read_to_end(stream) -> bytes:
    data = b""
    while chunk := await stream.receive_some():
        data += chunk
    return data


async def read_answer(stream) -> tuple[int, dict[str, str], bytes]:
    """Read one answer with a Content-Length, and not a byte more."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some(1)
        assert chunk, f"the connection ended within {data!r}"
        data += chunk
    lines = data.decode().split("\r\n")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:-2])}
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += await stream.receive_some(1)
    return int(lines[0].split()[1]), headers, body


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


@asynccontextmanager
async def listening(*, harness=None, routes=(), sockets=None, quickly=True, **options):
    harness = harness or Harness()
    harness.table = RouteTable()
    plain = IngestRoute(source="test", paths=("/hook",), admit=print, store=print, answer=print, spool=False)
    strict = IngestRoute(
        source="strict", paths=("/strict",), admit=print, store=print, spool=False, max_body_bytes=10
    )
    for route in (plain, strict, *routes):
        harness.table.mount(route, None, plugin=f"plugin_{route.source}")
    if sockets is None:
        sockets = open_sockets(["127.0.0.1:0"])
    if sockets[0].family != socket.AF_UNIX:
        harness.port = sockets[0].getsockname()[1]
    harness.observer = options.setdefault("observer", Recorder())

    async def serve(task_status):
        await serve_ingest(
            harness.table,
            harness.answer,
            sockets=sockets,
            log=structlog.get_logger(),
            drain=harness.drain,
            task_status=task_status,
            **options,
        )
        harness.stopped.set()

    if quickly:
        options.setdefault("take", harness.take)
    harness.stopped = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            harness.nursery = nursery
            harness.statistics = await nursery.start(serve)
            yield harness
            nursery.cancel_scope.cancel()


class Recorder(Observer):
    def __init__(self):
        self.answers = []
        self.away = []
        self.refused = []

    def answered(self, source, status, seconds):
        assert 0 <= seconds < 15
        self.answers.append((source, status))

    def turned_away(self, reason):
        self.away.append(reason)

    def malformed(self, status):
        self.refused.append(status)


async def test_delivers_what_came_byte_for_byte():
    async with listening() as harness, await harness.connect() as stream:
        body = bytes(range(256)) * 4
        await stream.send_all(
            post(body, b"Signature: abc=\r\nX-\xc3\xa9: 1\r\n".replace(b"\xc3\xa9", b"E"), b"/hook?a=b")
        )
        status, headers, answer = await read_answer(stream)
        assert (status, answer) == (200, b'{"length":1024}')
        assert headers["content-type"] == "application/json"
        assert headers["date"].endswith("GMT")
        [delivery] = harness.deliveries
        assert (delivery.source, delivery.path, delivery.query) == ("test", "/hook", "a=b")
        assert (delivery.method, delivery.body, delivery.client) == ("POST", body, "127.0.0.1")
        assert delivery.header("signature") == "abc="
        assert delivery.header("missing") is None
        assert abs(delivery.received_at - datetime.now(UTC)) < timedelta(seconds=5)
        assert harness.observer.answers == [("test", 200)]
        assert harness.statistics.answers == {200: 1}


async def test_keeps_the_connection_for_further_requests():
    async with listening() as harness, await harness.connect() as stream:
        for size in (0, 1, 40_000, 200_000):
            await stream.send_all(post(b"x" * size))
            assert (await read_answer(stream))[2] == b'{"length":%d}' % size
        assert harness.statistics.connections_total == 1


async def test_answers_pipelined_requests_in_order():
    async with listening() as harness:
        data = b"".join(post(b"x" * n) for n in range(50)) + GET_HOOK
        answer = await harness.talk(data)
        lengths = [int(part.split(b"}")[0]) for part in answer.split(b'{"length":')[1:]]
        assert lengths == [*range(50), 0]
        assert [d.method for d in harness.deliveries] == ["POST"] * 50 + ["GET"]


async def test_head_is_answered_without_a_body():
    async with listening() as harness, await harness.connect() as stream:
        await stream.send_all(b"HEAD /hook HTTP/1.1\r\nHost: a\r\n\r\n" + GET_HOOK)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some(1)
        assert b"Content-Length: 12\r\n" in head
        assert (await read_answer(stream))[2] == b'{"length":0}'


async def test_http_1_0_closes_unless_asked_to_keep():
    async with listening() as harness:
        answer = await harness.talk(b"GET /hook HTTP/1.0\r\n\r\n" * 2)
        assert statuses(answer) == [200]
        assert b"Connection: close\r\n" in answer
        answer = await harness.talk(b"GET /hook HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        assert statuses(answer) == [200, 200]
        assert answer.count(b"Connection: keep-alive\r\n") == 2


async def test_unknown_path_and_wrong_method():
    async with listening() as harness, await harness.connect() as stream:
        await stream.send_all(GET_HOOK.replace(b"/hook", b"/other"))
        status, headers, _ = await read_answer(stream)
        assert (status, headers["content-type"]) == (404, "application/problem+json")
        await stream.send_all(GET_HOOK.replace(b"GET", b"DELETE"))
        status, headers, _ = await read_answer(stream)
        assert (status, headers["allow"]) == (405, "GET, HEAD, POST")
        await stream.send_all(GET_HOOK.replace(b"/hook", b"/strict"))
        status, headers, _ = await read_answer(stream)
        assert (status, headers["allow"]) == (405, "POST")
        await stream.send_all(post(b"later", path=b"/other"))
        status, headers, _ = await read_answer(stream)
        assert (status, headers["connection"]) == (404, "close")
        assert await stream.receive_some() == b""
        assert harness.deliveries == []


async def test_expect_100_continue():
    async with listening() as harness, await harness.connect() as stream:
        raw = post(b"hello", b"Expect: 100-continue\r\n")
        await stream.send_all(raw[:-5])
        assert (await read_answer(stream))[0] == 100
        await stream.send_all(b"hello")
        assert (await read_answer(stream))[2] == b'{"length":5}'
        await stream.send_all(raw)  # who does not wait is not told to go on
        assert (await read_answer(stream))[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"", b"Expect: 100-continue\r\n", b"/strict").replace(b"Length: 0", b"Length: 11"), 413),
        (post(b"", b"Expect: 100-continue\r\n", b"/other").replace(b"Length: 0", b"Length: 11"), 404),
        (post(b"", b"Expect: a-miracle\r\n").replace(b"Length: 0", b"Length: 11"), 417),
    ],
)
async def test_refuses_before_the_body_is_sent(request_bytes, status):
    async with listening() as harness:
        answer = await harness.talk(request_bytes)
        assert statuses(answer) == [status]
        assert b"Connection: close\r\n" in answer


async def test_too_large_a_body_is_told_so_even_while_it_is_being_sent():
    async with listening() as harness:
        answer = await harness.talk(post(b"x" * 3_000_000))
        assert statuses(answer) == [413]
        chunks = (
            b"POST /strict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"9\r\n123456789\r\n" * 9
        )
        assert statuses(await harness.talk(chunks)) == [413]
        assert harness.observer.refused == [413, 413]


async def test_smuggled_second_request_is_not_served():
    async with listening() as harness:
        inner = b"GET /hook HTTP/1.1\r\nHost: a\r\n\r\n"
        raw = (
            b"POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n%b"
        ) % (5 + len(inner), inner)
        assert statuses(await harness.talk(raw)) == [400]
        assert harness.deliveries == []


FAST = {"header_seconds": 0.15, "body_seconds": 0.15, "idle_seconds": 0.15}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", []),
        (b"POST /hook HTTP/1.1\r\nHo", [408]),
        (post(b"12345")[:-2], [408]),
        (post(b"12345", b"Expect: 100-continue\r\n")[:-5], [100, 408]),
        (GET_HOOK, [200]),
        (GET_HOOK + b"P", [200, 408]),
    ],
)
async def test_slow_clients_are_cut_off(sent, expected):
    async with listening(limits=ListenerLimits(**FAST)) as harness:
        assert statuses(await harness.talk(sent, finish=False)) == expected


async def test_trickling_does_not_extend_the_deadline():
    async with listening(limits=ListenerLimits(**FAST)) as harness, await harness.connect() as stream:
        answer = b""

        async def trickle(task_status):
            task_status.started()
            while True:
                await stream.send_all(b"X")
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            await stream.send_all(b"POST /hook HTTP/1.1\r\nHost: a\r\nX: ")
            await nursery.start(trickle)
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some()
            nursery.cancel_scope.cancel()
        assert statuses(answer) == [408]


async def test_bytes_that_come_with_the_end_of_a_wait_do_not_make_it_another():
    ours, theirs = socket.socketpair()
    with theirs, trio.fail_after(60):
        transport = SocketTransport(ours, write_seconds=1)
        theirs.send(b"X")
        transport.wake()
        assert await transport.receive_some() == b"X"
        with pytest.raises(Woken):
            await transport.receive_some()
        transport.close()


async def test_answering_has_no_deadline():
    async with listening(limits=ListenerLimits(**FAST)) as harness, await harness.connect() as stream:
        harness.hold = trio.Event()
        await stream.send_all(post(b"x"))
        await harness.answering.wait()
        async with await harness.connect() as other:  # this one runs into its deadline meanwhile
            assert await other.receive_some() == b""
        harness.hold.set()
        assert (await read_answer(stream))[0] == 200


async def test_client_that_hangs_up_does_not_cancel_the_answer():
    async with listening() as harness:
        harness.hold = trio.Event()
        finished = trio.Event()
        answer = harness.answer

        async def answer_and_tell(route, ctx, delivery):
            reply = await answer(route, ctx, delivery)
            finished.set()
            return reply

        harness.table.unmount("plugin_strict")
        harness.answer = answer_and_tell
        async with listening(harness=harness) as harness:
            stream = await harness.connect()
            await stream.send_all(post(b"x"))
            await harness.answering.wait()
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset on close
            await stream.aclose()
            harness.hold.set()
            await finished.wait()
            assert (await harness.talk(post(b"x"))).startswith(b"HTTP/1.1 200")


async def test_answerer_that_fails_is_503():
    async with listening() as harness, await harness.connect() as stream:
        harness.reply = RuntimeError("broken")
        await stream.send_all(post(b"x"))
        status, headers, body = await read_answer(stream)
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"broken" not in body
        harness.reply = Reply(200, headers=(("X-Evil", "a\r\nSet-Cookie: b"),))
        await stream.send_all(post(b"x"))
        status, headers, _ = await read_answer(stream)
        assert status == 500
        assert "set-cookie" not in headers
        harness.reply = Reply(204, content_type="")
        await stream.send_all(post(b"x"))
        status, headers, _ = await read_answer(stream)
        assert (status, set(headers)) == (204, {"date"})
        harness.reply = None
        await stream.send_all(post(b"x"))
        assert (await read_answer(stream))[0] == 200


async def test_plugin_that_is_down_is_503_on_its_own_paths_only():
    async with listening() as harness, await harness.connect() as stream:
        harness.table.suspend("plugin_test")
        await stream.send_all(GET_HOOK)
        status, headers, _ = await read_answer(stream)
        assert (status, headers["retry-after"]) == (503, "5")
        await stream.send_all(post(b"x", path=b"/strict"))
        assert (await read_answer(stream))[0] == 200
        harness.table.resume("plugin_test")
        await stream.send_all(GET_HOOK)
        assert (await read_answer(stream))[0] == 200


async def test_connections_beyond_the_cap_are_told_and_closed():
    async with listening(limits=ListenerLimits(connections=2)) as harness:
        async with await harness.connect() as one, await harness.connect() as two:
            for stream in (one, two):
                await stream.send_all(post(b"12345")[:-3])  # at work: nobody gives way
            await condition(lambda: harness.statistics.connections == 2)
            await trio.testing.wait_all_tasks_blocked(0.05)
            answer = await harness.talk(GET_HOOK)
            assert statuses(answer) == [503]
            assert b"Retry-After: 1\r\n" in answer
            assert harness.observer.away == ["full"]
            await one.send_all(b"345")
            assert (await read_answer(one))[0] == 200
        await condition(lambda: not harness.statistics.connections)
        assert statuses(await harness.talk(GET_HOOK)) == [200]


async def test_at_the_cap_an_idle_connection_gives_way():
    async with (
        listening(limits=ListenerLimits(connections=2)) as harness,
        await harness.connect() as kept,
        await harness.connect() as silent,
    ):
        await kept.send_all(GET_HOOK)
        assert (await read_answer(kept))[0] == 200
        await condition(lambda: harness.statistics.connections == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert statuses(await harness.talk(GET_HOOK)) == [200]
        assert await silent.receive_some() == b""
        assert harness.observer.away == []
        await kept.send_all(GET_HOOK)  # it has spoken before, so it had longer to go
        assert (await read_answer(kept))[0] == 200


async def test_connections_of_one_client_are_capped():
    limits = ListenerLimits(per_client=1)
    async with listening(limits=limits) as harness, await harness.connect() as stream:
        await stream.send_all(GET_HOOK)
        await read_answer(stream)
        assert statuses(await harness.talk(GET_HOOK)) == [503]
        assert harness.observer.away == ["per_client"]
        other = socket.create_connection(("127.0.0.1", harness.port), source_address=("127.0.0.2", 0))
        async with trio.SocketStream(trio.socket.from_stdlib_socket(unblocked(other))) as far:
            await far.send_all(GET_HOOK)
            assert (await read_answer(far))[0] == 200


def unblocked(connected):
    connected.setblocking(False)
    return connected


async def test_large_bodies_share_a_memory_bound():
    async with listening(limits=ListenerLimits(buffered_bytes=100_000)) as harness:
        async with await harness.connect() as stream:
            await stream.send_all(post(b"x" * 90_000)[:-1])
            await condition(lambda: harness.statistics.buffered_bytes > 80_000)
            assert statuses(await harness.talk(post(b"x" * 90_000))) == [503]
            await stream.send_all(b"x")
            assert (await read_answer(stream))[0] == 200
        assert harness.statistics.buffered_bytes == 0


def duplicate() -> int | None:
    try:
        return os.dup(0)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return None


async def test_survives_running_out_of_file_descriptors():
    async with listening() as harness, await harness.connect() as idle:
        await idle.send_all(GET_HOOK)
        assert (await read_answer(idle))[0] == 200
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = socket.socket()
        client.setblocking(False)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            while (descriptor := duplicate()) is not None:
                held.append(descriptor)
            waiting = trio.socket.from_stdlib_socket(client)
            await waiting.connect(("127.0.0.1", harness.port))
            await waiting.send(GET_HOOK)
            # the idle connection is given up for the one that waits
            assert await idle.receive_some() == b""
            async with trio.SocketStream(waiting) as stream:
                assert (await read_answer(stream))[0] == 200
            assert "files" in harness.observer.away
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in held:
                os.close(descriptor)


async def test_drain_finishes_what_was_admitted():
    async with listening() as harness:
        idle, busy, half = streams = [await harness.connect() for _ in range(3)]
        await idle.send_all(GET_HOOK)
        await read_answer(idle)
        harness.hold = trio.Event()
        await busy.send_all(post(b"x"))
        await half.send_all(post(b"12345")[:-3])
        await harness.answering.wait()
        await condition(lambda: harness.statistics.connections == 3)
        await trio.testing.wait_all_tasks_blocked(0.05)
        harness.drain.set()
        assert await idle.receive_some() == b""
        with pytest.raises(OSError, match="connect"):
            await harness.connect()
        await half.send_all(b"345")
        harness.hold.set()
        for stream in (busy, half):
            status, headers, _ = await read_answer(stream)
            assert (status, headers["connection"]) == (200, "close")
            assert await stream.receive_some() == b""
        for stream in streams:
            await stream.aclose()
        await harness.stopped.wait()


async def test_drain_serves_who_was_still_in_the_queue():
    async with listening() as harness:
        client = socket.create_connection(("127.0.0.1", harness.port))
        client.sendall(post(b"queued"))
        harness.drain.set()  # in the same turn: nothing has been accepted yet
        async with trio.SocketStream(trio.socket.from_stdlib_socket(unblocked(client))) as stream:
            assert (await read_answer(stream))[2] == b'{"length":6}'
        await harness.stopped.wait()


async def test_drain_does_not_wait_for_ever():
    limits = ListenerLimits(drain_seconds=0.1)
    async with listening(limits=limits) as harness, await harness.connect() as half:
        await half.send_all(b"POST /hook HTTP/1.1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.05)
        harness.drain.set()
        assert (await read_answer(half))[0] == 408
        await half.aclose()
        await harness.stopped.wait()


async def test_peer_that_does_not_read_is_given_up():
    async with listening(limits=ListenerLimits(write_seconds=0.1)) as harness:
        harness.reply = Reply(200, b"x" * 20_000_000)
        async with await harness.connect() as stream:
            await stream.send_all(GET_HOOK)
            await harness.answering.wait()
            await condition(lambda: not harness.statistics.connections)
        harness.reply = None
        assert statuses(await harness.talk(GET_HOOK)) == [200]


async def test_unix_socket(tmp_path):
    path = tmp_path / "ingest.sock"
    async with listening(sockets=open_sockets([f"unix:{path}"])) as harness:
        with pytest.raises(CannotListen, match="is in use by another program"):
            open_sockets([f"unix:{path}"])
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(post(b"x"))
            assert (await read_answer(stream))[0] == 200
        assert harness.deliveries[0].client == "unix"
    for listening_again in open_sockets([f"unix:{path}"]):
        listening_again.close()


async def test_takes_over_a_socket_that_was_opened_before():
    opened = socket.create_server(("127.0.0.1", 0))
    early = socket.create_connection(opened.getsockname())
    early.sendall(post(b"early"))  # sent while no daemon runs
    async with (
        listening(sockets=[opened.dup()]),
        trio.SocketStream(trio.socket.from_stdlib_socket(unblocked(early))) as stream,
    ):
        assert (await read_answer(stream))[2] == b'{"length":5}'
    with socket.create_connection(opened.getsockname()):
        pass  # the queue outlives the listener
    opened.close()


# -- behind proxies --------------------------------------------------------------------------------------


async def test_believes_forwarded_headers_of_trusted_peers_only():
    async with listening(trust=Trust(["127.0.0.0/8", "10.0.0.0/8"])) as harness:
        await harness.talk(
            post(b"", b"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\nForwarded: for=7.7.7.7\r\n")
        )
    assert harness.deliveries[0].client == "203.0.113.9"
    async with listening(trust=Trust(["10.0.0.0/8"])) as harness:
        await harness.talk(post(b"", b"X-Forwarded-For: 203.0.113.9\r\n"))
    assert harness.deliveries[0].client == "127.0.0.1"


async def test_proxy_protocol():
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    version_2 = signature + b"\x21\x11\0\x0c" + bytes([198, 51, 100, 7, 127, 0, 0, 1, 1, 2, 3, 4])
    trust = Trust(["127.0.0.1"], proxy_protocol=True)
    async with listening(trust=trust) as harness:
        for header, client in [
            (b"PROXY TCP4 203.0.113.5 127.0.0.1 1000 80\r\n", "203.0.113.5"),
            (b"PROXY TCP6 2001:db8::1 ::1 1000 80\r\n", "2001:db8::1"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
            (version_2, "198.51.100.7"),
            (signature + b"\x20\0\0\0", "127.0.0.1"),
        ]:
            assert statuses(await harness.talk(header + post(b"x"))) == [200]
            assert harness.deliveries[-1].client == client
        async with await harness.connect() as stream:
            for byte in version_2:
                await stream.send_all(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(post(b"x"))
            assert (await read_answer(stream))[0] == 200
        count = len(harness.deliveries)
        assert await harness.talk_in_vain(post(b"x")) == b""
        assert len(harness.deliveries) == count
        assert harness.observer.away == ["proxy_header"]
    async with listening(trust=Trust(["10.0.0.0/8"], proxy_protocol=True)) as harness:
        assert await harness.talk_in_vain(b"PROXY TCP4 203.0.113.5 127.0.0.1 1000 80\r\n" + post(b"x")) == b""
        assert harness.deliveries == []


# -- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server context with a throw-away certificate, and a client context that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


async def test_tls(tls):
    server, client = tls
    async with listening(tls=server, limits=ListenerLimits(idle_seconds=0.3, header_seconds=0.3)) as harness:
        plain = await harness.connect()
        async with trio.SSLStream(
            plain, client, server_hostname="hooks.test", https_compatible=True
        ) as stream:
            for body in (b"x", b"y" * 100_000):
                await stream.send_all(post(body))
                assert (await read_answer(stream))[2] == b'{"length":%d}' % len(body)
            await stream.send_all(b"POST /hook")
            assert (await read_answer(stream))[0] == 408  # deadlines hold under TLS too


async def test_tls_handshake_has_a_deadline(tls):
    async with listening(tls=tls[0], limits=ListenerLimits(handshake_seconds=0.1)) as harness:
        assert await harness.talk(b"", finish=False) == b""
        assert b"HTTP/1.1 200" not in await harness.talk_in_vain(GET_HOOK)
        assert harness.observer.away == ["handshake", "handshake"]
        assert harness.deliveries == []


async def test_tls_behind_the_proxy_protocol(tls):
    server, client = tls
    async with listening(tls=server, trust=Trust(["127.0.0.1"], proxy_protocol=True)) as harness:
        plain = await harness.connect()
        await plain.send_all(b"PROXY TCP4 203.0.113.5 127.0.0.1 1000 443\r\n")
        async with trio.SSLStream(
            plain, client, server_hostname="hooks.test", https_compatible=True
        ) as stream:
            await stream.send_all(post(b"x"))
            assert (await read_answer(stream))[0] == 200
        assert harness.deliveries[0].client == "203.0.113.5"


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="idle_seconds"):
        ListenerLimits(idle_seconds=0)
    assert ListenerLimits(idle_seconds=math.inf)


# -- the quick way and the task's ----------------------------------------------------------------------------


@pytest.mark.parametrize("quickly", [True, False])
async def test_both_ways_give_the_same_answers(quickly):
    async with listening(quickly=quickly) as harness, await harness.connect() as stream:
        for size in (0, 1, 5000, 40_000, 200_000, 3):  # larger ones come in several pieces
            await stream.send_all(post(b"x" * size))
            assert (await read_answer(stream))[::2] == (200, b'{"length":%d}' % size)
        await stream.send_all(post(b"one") + post(b"second") + GET_HOOK + post(b""))
        answers = [await read_answer(stream) for _ in range(4)]
        assert [body for _, _, body in answers] == [
            b'{"length":3}', b'{"length":6}', b'{"length":0}', b'{"length":0}',
        ]  # fmt: skip
        head, body = post(b"split").split(b"\r\n\r\n")
        for piece in (head[:10], head[10:] + b"\r\n\r\n", body):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await read_answer(stream))[2] == b'{"length":5}'
        await stream.send_all(post(b"x", path=b"/nowhere"))
        assert (await read_answer(stream))[0] == 404


@pytest.mark.parametrize("quickly", [True, False])
async def test_who_has_finished_sending_is_answered_and_let_go(quickly):
    async with listening(quickly=quickly) as harness, await harness.connect() as stream:
        harness.hold = trio.Event()
        await stream.send_all(post(b"last"))
        await harness.answering.wait()
        await stream.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.01)
        harness.hold.set()
        assert statuses(await read_to_end(stream)) == [200]
        await condition(lambda: harness.statistics.connections == 0)


@pytest.mark.parametrize("quickly", [True, False])
async def test_a_slow_reader_gets_all_of_a_large_answer(quickly):
    async with listening(quickly=quickly) as harness, await harness.connect() as stream:
        harness.reply = Reply(200, b"x" * (8 << 20))
        await stream.send_all(post(b"large, please"))
        await harness.answering.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(await read_answer_quickly(stream)) == 8 << 20
        harness.reply = None
        await stream.send_all(post(b"and another"))
        assert (await read_answer(stream))[0] == 200


async def read_answer_quickly(stream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    parts = [body]
    while (left := length - sum(map(len, parts))) > 0:
        parts.append(await stream.receive_some(left))
    return b"".join(parts)


async def test_a_listener_that_is_cancelled_answers_nobody_afterwards():
    async with listening() as harness, await harness.connect() as stream:
        harness.hold = trio.Event()
        await stream.send_all(post(b"too late"))
        await harness.answering.wait()
        harness.nursery.cancel_scope.cancel()
    assert harness.statistics.answers == {}


async def test_refused_one_after_the_other_without_waiting_keeps_the_loop_going():
    """A client that sends refusals as fast as it can must not starve the others."""

    class Refusing(Harness):
        def take(self, route, ctx, delivery, told):
            self.deliveries.append(delivery)
            return Reply(401, b"no")

    harness = Refusing()
    async with listening(harness=harness), await harness.connect() as flood, await harness.connect() as other:

        async def flooding():
            for _ in range(200):
                await flood.send_all(post(b"x" * 100))
                assert (await read_answer(flood))[0] == 401

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flooding)
            await other.send_all(post(b"me"))
            assert (await read_answer(other))[0] == 401
        assert len(harness.deliveries) == 201
