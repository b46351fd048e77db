"""Answers sent piece by piece: downloads, server-sent events, and what happens when they break."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from wharfd.declare import Route
from wharfd.http import Event, EventStream, Reply, Stream
from wharfd.http.reply import encode_event
from wharfd.testing.api import serve_routes


def route(handler, path="/x"):
    return Route(method="GET", path=path, handler=handler, scope="test:x")


async def ask(api, path="/x", extra=""):
    stream = await api.open()
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin_token}\r\n{extra}\r\n"
    await stream.send_all(head.encode())
    return stream


async def read_until(stream, wanted):
    seen = b""
    with trio.fail_after(60):
        while wanted not in seen:
            piece = await stream.receive_some(65536)
            assert piece, f"the connection ended before {wanted!r} came, after {seen!r}"
            seen += piece
    return seen


async def test_a_download_arrives_whole_and_named():
    async def pieces():
        for n in range(1000):
            yield b"%04d" % n

    async def handler(ctx, request):
        return Stream(pieces(), "application/x-ndjson", filename='ré"sult\r\ns.jsonl', length=4000)

    async with serve_routes([route(handler)]) as api:
        answer = await api.get("/x")
    assert answer.body == b"".join(b"%04d" % n for n in range(1000))
    assert answer.headers["content-length"] == "4000"
    assert answer.headers["content-disposition"] == 'attachment; filename="r__sult__s.jsonl"'


async def test_a_download_that_breaks_cannot_be_taken_for_a_whole_one():
    async def pieces():
        yield b"half"
        raise RuntimeError("disk gone")

    async def handler(ctx, request):
        return Stream(pieces())

    with capture_logs() as logs:
        async with serve_routes([route(handler)]) as api, await ask(api) as stream:
            seen = b""
            with trio.fail_after(60):
                try:
                    while piece := await stream.receive_some(65536):
                        seen += piece
                except trio.BrokenResourceError:
                    pass
            assert b"half" in seen
            assert b"\r\n0\r\n\r\n" not in seen  # the end mark of a chunked body
            assert (await api.get("/health/live")).status == 200
    [failure] = [entry for entry in logs if entry["log_level"] == "error"]
    assert (failure["event"], failure["plugin"], failure["route"]) == ("stream_failed", "test", "/x")


async def test_a_stream_is_closed_when_its_reader_goes():
    closed = trio.Event()

    async def pieces():
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    async def handler(ctx, request):
        return Stream(pieces())

    async with serve_routes([route(handler)]) as api:
        stream = await ask(api)
        await read_until(stream, b"xxx")
        await stream.aclose()
        with trio.fail_after(60):
            await closed.wait()


async def test_head_of_a_stream_closes_it_unread():
    closed = trio.Event()

    class Source:
        def __aiter__(self):
            raise AssertionError("nothing may be read for a HEAD")

        async def aclose(self):
            closed.set()

    async def handler(ctx, request):
        return Stream(Source(), length=10)

    async with serve_routes([route(handler)]) as api:
        answer = await api.request("HEAD", "/x")
    assert answer.headers["content-length"] == "10"
    assert closed.is_set()


async def test_events_arrive_as_they_happen_and_the_stream_ends():
    async def events():
        yield "progress", {"done": 1}
        yield Event({"done": 2}, "progress", "7")
        yield Event("two\nlines")

    async def handler(ctx, request):
        return EventStream(events())

    async with serve_routes([route(handler)]) as api:
        answer = await api.get("/x")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body == (
        b"retry: 3000\n\n"
        b'event: progress\ndata: {"done":1}\n\n'
        b'id: 7\nevent: progress\ndata: {"done":2}\n\n'
        b"data: two\ndata: lines\n\n"
    )


async def test_a_quiet_event_stream_is_kept_alive_and_ends_with_its_reader():
    ended = trio.Event()

    async def events():
        try:
            await trio.sleep_forever()
            yield "never", None
        finally:
            ended.set()

    async def handler(ctx, request):
        return EventStream(events(), heartbeat_seconds=0.05)

    async with serve_routes([route(handler)]) as api:
        stream = await ask(api)
        seen = await read_until(stream, b": still here")
        assert b"retry: 3000" in seen
        await stream.aclose()
        with trio.fail_after(60):
            await ended.wait()


async def test_a_reconnecting_reader_says_where_it_left_off():
    async def handler(ctx, request):
        return Reply(200, request.last_event_id)

    async with serve_routes([route(handler)]) as api:
        assert (await api.get("/x", headers={"Last-Event-ID": "41"})).body == b"41"


async def test_event_streams_end_cleanly_when_the_server_stops():
    async def events():
        yield "hello", 1
        await trio.sleep_forever()

    async def handler(ctx, request):
        return EventStream(events())

    async with serve_routes([route(handler)]) as api, await ask(api) as stream:
        await read_until(stream, b"event: hello")
        api.server.stop()
        await read_until(stream, b"0\r\n\r\n")


async def test_an_event_stream_that_breaks_is_logged_and_cut():
    async def events():
        yield "hello", 1
        raise RuntimeError("gone")

    async def handler(ctx, request):
        return EventStream(events())

    with capture_logs() as logs:
        async with serve_routes([route(handler)]) as api, await ask(api) as stream:
            seen = b""
            with trio.fail_after(60):
                try:
                    while piece := await stream.receive_some(65536):
                        seen += piece
                except trio.BrokenResourceError:
                    pass
    assert b"\r\n0\r\n\r\n" not in seen
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["stream_failed"]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\rb"])
def test_data_cannot_break_out_of_its_event(text):
    assert encode_event(Event(text, "x\nevent: y")) == b"event: x event: y\ndata: a\ndata: b\n\n"
