"""Sockets, TLS, drain, and callers that misbehave."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
import stat

import pytest
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from wharfd import ingest
from wharfd.declare import Route
from wharfd.errors import CannotListen, ConfigError
from wharfd.http import BoundRoute, IngestMount, Reply
from wharfd.http.connection import guard
from wharfd.http.endpoint import build_router
from wharfd.http.settings import HttpSettings
from wharfd.http.tls import ServerTls
from wharfd.sockets import describe, open_sockets
from wharfd.testing.api import serve_routes

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def make_certificate(folder, name="127.0.0.1", stem="server", encrypted=False):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(b"x") if encrypted else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (folder / f"{stem}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{stem}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden))
    return folder / f"{stem}.pem", folder / f"{stem}.key"


async def hello(ctx, request):
    return {"hello": "world", "secure": request.secure}


HELLO = Route(method="GET", path="/hello", handler=hello, scope=None)
ASK = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
ASK_AND_CLOSE = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def open_tls(api, context):
    return trio.SSLStream(await api.open(), context, server_hostname="127.0.0.1", https_compatible=True)


async def read_all(stream):
    seen = b""
    with trio.fail_after(60):
        while piece := await stream.receive_some(65536):
            seen += piece
    return seen


async def settled(api):
    """Wait until no connection is open on the server's side."""
    with trio.fail_after(60):
        await api.server.wait_empty()


async def test_tls_from_1_2_and_never_below(tmp_path):
    certificate, key = make_certificate(tmp_path)
    settings = HttpSettings(bind=("127.0.0.1:0",), tls_cert=certificate, tls_key=key)
    async with serve_routes([HELLO], settings=settings) as api:
        assert api.url.startswith("https://")
        for version, good in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.create_default_context(cafile=certificate)
            context.minimum_version = context.maximum_version = version
            stream = trio.SSLStream(
                await api.open(), context, server_hostname="127.0.0.1", https_compatible=True
            )
            await stream.send_all(ASK_AND_CLOSE)
            answer = await read_all(stream)
            assert answer.startswith(b"HTTP/1.1 200") is good
            assert b'"secure":true' in answer
            await stream.aclose()
        plain = await api.open()
        await plain.send_all(ASK)
        await plain.aclose()
        await settled(api)
    assert ServerTls(certificate, key).context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_renewed_certificate_counts_for_new_connections(tmp_path):
    certificate, key = make_certificate(tmp_path)
    settings = HttpSettings(bind=("127.0.0.1:0",), tls_cert=certificate, tls_key=key)
    async with serve_routes([HELLO], settings=settings) as api:
        make_certificate(tmp_path)
        api.server.reload_tls()
        context = ssl.create_default_context(cafile=certificate)
        stream = await open_tls(api, context)
        await stream.do_handshake()
        key.write_text("nonsense")
        with pytest.raises(ConfigError, match=r"http\.tls_cert"):
            api.server.reload_tls()
        again = await open_tls(api, context)
        await again.do_handshake()
        await stream.aclose()
        await again.aclose()


@pytest.mark.parametrize("trouble", ["missing", "encrypted", "other"])
def test_certificates_that_cannot_be_used_are_named(tmp_path, trouble):
    certificate, key = make_certificate(tmp_path, encrypted=trouble == "encrypted")
    if trouble == "missing":
        key.unlink()
    if trouble == "other":
        _, key = make_certificate(tmp_path, stem="other")
    with pytest.raises(ConfigError, match=r"http\.tls_(cert|key)"):
        ServerTls(certificate, key)


async def test_it_serves_sockets_that_were_handed_over():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with serve_routes([HELLO]) as other, trio.open_nursery() as nursery:
        from wharfd.http.serving import Serving

        second = Serving(other.server.app, tls=None, log=structlog.get_logger())
        urls = await nursery.start(second.run, [listener])
        assert urls == [f"http://127.0.0.1:{port}"]
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(ASK_AND_CLOSE)
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200")
        second.stop()


async def test_a_unix_socket_is_taken_over_from_a_dead_server_and_removed(tmp_path):
    path = tmp_path / "api.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    settings = HttpSettings(bind=(f"unix:{path}",), drain_seconds=2)
    async with serve_routes([HELLO], settings=settings) as api:
        assert api.url == f"http+unix://{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(CannotListen, match="in use by another program"):
            open_sockets([f"unix:{path}"])
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(ASK_AND_CLOSE)
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200")
    assert not path.exists()


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("8470", "is not an address to listen on"),
        ("127.0.0.1:http", "is not an address to listen on"),
        ("127.0.0.1:99999", "is not an address to listen on"),
        ("192.0.2.1:0", "is not an address of this machine"),
        ("unix:/nonexistent/x.sock", "cannot be listened on"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_with_a_way_out(bind, words):
    with pytest.raises(CannotListen, match=words) as caught:
        open_sockets([bind])
    assert bind in str(caught.value)


def test_when_one_of_several_addresses_is_taken_none_stays_open():
    taken = open_sockets(["127.0.0.1:0"])[0]
    port = taken.getsockname()[1]
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CannotListen, match=f"127.0.0.1:{port} is in use"):
        open_sockets(["127.0.0.1:0", f"127.0.0.1:{port}"])
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert describe(taken, secure=False) == f"http://127.0.0.1:{port}"
    taken.close()


async def test_stopping_answers_what_is_under_way_and_takes_nothing_new():
    begun, gate = trio.Event(), trio.Event()

    async def slow(ctx, request):
        begun.set()
        await gate.wait()
        return {"done": True}

    route = Route(method="GET", path="/slow", handler=slow, scope=None)
    async with serve_routes([route]) as api, trio.open_nursery() as nursery:

        async def ask():
            answer = await api.get("/slow")
            assert answer.json() == {"done": True}

        nursery.start_soon(ask)
        await begun.wait()
        api.server.stop()
        with trio.fail_after(60), pytest.raises(OSError, match="all attempts"):
            while True:
                async with await api.open():
                    await trio.lowlevel.checkpoint()
        gate.set()


async def test_stopping_does_not_wait_for_ever():
    begun, ended = trio.Event(), trio.Event()

    async def stuck(ctx, request):
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    route = Route(method="POST", path="/stuck", handler=stuck, scope=None)
    settings = HttpSettings(bind=("127.0.0.1:0",), drain_seconds=0.1)
    with trio.fail_after(60):
        async with serve_routes([route], settings=settings) as api, await api.open() as stream:
            await stream.send_all(b"POST /stuck HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            await begun.wait()
            api.server.stop()
            await ended.wait()


async def test_a_caller_that_stops_reading_does_not_hold_up_the_end():
    async def flood(ctx, request):
        return Reply(200, b"x" * (64 << 20))

    route = Route(method="GET", path="/flood", handler=flood, scope=None)
    settings = HttpSettings(bind=("127.0.0.1:0",), drain_seconds=0.1, write_timeout_seconds=0.3)
    with trio.fail_after(60):
        async with serve_routes([route], settings=settings) as api, await api.open() as stream:
            await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await stream.receive_some(1)
            await settled(api)


async def test_more_connections_than_allowed_are_closed_at_once():
    settings = HttpSettings(bind=("127.0.0.1:0",), max_connections=2, drain_seconds=1)
    async with serve_routes([HELLO], settings=settings) as api:
        first, second = await api.open(), await api.open()
        for stream in (first, second):
            await stream.send_all(ASK)
            assert await stream.receive_some(1)
        third = await api.open()
        with trio.fail_after(60):
            try:
                ended = await third.receive_some(1)
            except trio.BrokenResourceError:
                ended = b""
        assert ended == b""
        for stream in (first, second, third):
            await stream.aclose()
        await settled(api)
        assert (await api.get("/hello")).status == 200


async def test_a_head_that_never_ends_is_given_up():
    settings = HttpSettings(bind=("127.0.0.1:0",), idle_timeout_seconds=0.2, drain_seconds=1)
    async with serve_routes([HELLO], settings=settings) as api, await api.open() as stream:
        await stream.send_all(b"GET /hello HTTP/1.1\r\nHost:")
        assert await read_all(stream) == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n\x00\xff\xfe",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 50,
        b"GET http://[::1/hello HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_garbage_harms_nobody_else(garbage):
    settings = HttpSettings(bind=("127.0.0.1:0",), idle_timeout_seconds=0.3, drain_seconds=1)
    with capture_logs() as logs:
        async with serve_routes([HELLO], settings=settings) as api:
            async with await api.open() as stream:
                await stream.send_all(garbage)
                with trio.fail_after(60):
                    try:
                        answer = await read_all(stream)
                    except trio.BrokenResourceError:
                        answer = b""
            assert not answer.startswith(b"HTTP/1.1 5")
            assert not answer.startswith(b"HTTP/1.1 101")
            assert (await api.get("/hello")).status == 200
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length:\r\n\t0\r\n\r\n",
        b"A: b\nTransfer-Encoding: chunked\nContent-Length: 0\r\n\r\n",
        b"A: b\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_request_whose_end_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(framing):
    hidden = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serve_routes([Route(method="GET", path="/hello", handler=hello, scope=None)]) as api:
        async with await api.open() as stream:
            await stream.send_all(b"POST /hello HTTP/1.1\r\nHost: x\r\n" + framing + hidden)
            answered = b""
            with trio.fail_after(60):
                async for data in stream:
                    answered += data
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1 ") == 1


async def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order():
    async with serve_routes([HELLO]) as api, await api.open() as stream:
        await stream.send_all(ASK + ASK.replace(b"/hello", b"/nowhere") + ASK_AND_CLOSE)
        answer = await read_all(stream)
    statuses = [piece[:3] for piece in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]


async def test_ingest_paths_get_the_request_byte_for_byte():
    got = []

    async def answer(delivery):
        got.append(delivery)
        return ingest.Reply(200, b'{"success":true}', headers=(("X-Source", "shop"),))

    mount = IngestMount("shop", ("/api/webhooks/shop", "/webhook"), answer, max_body_bytes=100)
    raw = b'{"a" : 1}\r\n\xff'
    async with serve_routes(mounts=[mount]) as api:
        headers = {"Signature": "abc", "X-Forwarded-For": "1.2.3.4"}
        done = await api.request("POST", "/webhook?x=%31", body=raw, headers=headers, token=None)
        large = await api.request("POST", "/webhook", body=b"x" * 101, token=None)
        other = await api.get("/webhook", token=None)
    assert (done.status, done.body, done.headers["x-source"]) == (200, b'{"success":true}', "shop")
    assert (large.status, other.status) == (413, 405)
    [delivery] = got
    assert (delivery.body, delivery.query, delivery.path, delivery.method) == (
        raw,
        "x=%31",
        "/webhook",
        "POST",
    )
    assert (b"Signature", b"abc") in [(name.title(), value) for name, value in delivery.headers]
    assert delivery.header("SIGNATURE") == "abc"
    assert delivery.header("nothing") is None
    assert delivery.client == "127.0.0.1"
    assert delivery.source == "shop"


async def test_a_plugins_own_get_takes_the_place_of_its_ingest_paths_short_answer():
    async def answer(delivery):
        return ingest.Reply(200, b"short")

    own = Route(method="GET", path="/hook", handler=hello, scope=None)
    mount = IngestMount("shop", ("/hook", "/other"), answer, methods=("POST", "GET"))
    async with serve_routes([own], mounts=[mount]) as api:
        assert (await api.get("/hook")).json()["hello"] == "world"
        assert (await api.get("/other")).body == b"short"
        assert (await api.post("/hook", {})).body == b"short"


def test_paths_that_collide_are_all_named_with_both_sides():
    def bound(path, plugin, method="GET"):
        return BoundRoute(Route(method=method, path=path, handler=hello, scope=None), plugin, object)

    mount = IngestMount("netbanx", ("/hook",), hello)
    with pytest.raises(ConfigError) as caught:
        build_router(
            [bound("/a/{x}", "one"), bound("/a/{y}", "two"), bound("/b", "one"), bound("/b", "two", "POST")]
            + [bound("/hook", "three", "POST")],
            [mount],
        )
    text = str(caught.value)
    assert "GET /a/{y} is declared by one and by two" in text
    assert "POST /hook is declared by three and by netbanx" in text
    assert "/b" not in text


@pytest.mark.parametrize("path", ["/a/{x}/{x}", "/a/b{x}", "/{rest:path}/x"])
def test_a_path_that_makes_no_sense_is_refused(path):
    route = Route(method="GET", path=path, handler=hello, scope=None)
    with pytest.raises(ValueError, match=r"parameter|segment"):
        build_router([BoundRoute(route, "one", object)], [])


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/w/fixed", ("fixed", {})),
        ("GET", "/w/other", ("one", {"id": "other"})),
        ("DELETE", "/w/fixed", None),
        ("GET", "/w/fixed/deep", ("deep", {"id": "fixed"})),
        ("GET", "/w/", "nothing"),
        ("GET", "/w/a/b/c", ("rest", {"tail": "a/b/c"})),
        ("GET", "/w/%66ixed", ("fixed", {})),
    ],
)
def test_the_most_specific_path_decides(method, path, found):
    from wharfd.http.routing import Found, OtherMethods, Router

    router = Router()
    for verb, pattern, value in [
        ("GET", "/w/fixed", "fixed"), ("GET", "/w/{id}", "one"), ("DELETE", "/w/{id}", "gone"),
        ("GET", "/w/{id}/deep", "deep"), ("GET", "/w/{tail:path}", "rest"),
    ]:  # fmt: skip
        assert router.add(verb, pattern, value, "test") is None
    result = router.find(method, path)
    if found is None:
        assert isinstance(result, OtherMethods)
    elif found == "nothing":
        assert result == Found("rest", {"tail": ""})
    else:
        assert result == Found(*found)


async def test_a_guarded_stream_gives_up_on_a_reader_that_does_not_read():
    left, right = socket.socketpair()
    left.setblocking(False)
    stream = guard(trio.SocketStream(trio.socket.from_stdlib_socket(left)), 0.1)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x" * (16 << 20))
    right.close()


async def test_what_is_not_http_gets_a_problem_that_says_so():
    async with serve_routes() as api, await api.open() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n")
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head
    assert b"the request is not HTTP/1.1" in body


async def test_a_connection_ends_when_its_caller_leaves_not_when_it_would_have_been_idle():
    settings = HttpSettings(bind=("127.0.0.1:0",), idle_timeout_seconds=3600, drain_seconds=1)
    async with serve_routes([HELLO], settings=settings) as api:
        stream = await api.open()
        await stream.send_all(ASK)
        assert await stream.receive_some(1)
        await stream.aclose()
        await settled(api)
