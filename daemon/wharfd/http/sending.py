"""Puts an answer on the wire: bytes at once, streams piece by piece, server-sent events with a heartbeat."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from .body import BodySource
from .reply import Answer, EventStream, Stream, encode_event

Send = Callable[[Any], Awaitable[None]]

# After an answer that came before the body was read, so much of the body is still taken in, so that the
# caller gets to read the answer instead of a connection reset.
_LINGER_SECONDS = 2.0
_HEARTBEAT = b": still here\n\n"


class StreamBroken(Exception):
    """The answer stopped half-way; the connection must be cut so that the caller notices."""


async def send_answer(
    send: Send, body: BodySource, answer: Answer, *, head: bool, stopping: trio.Event
) -> None:
    """Send the answer. Raises `StreamBroken` when a stream fails after its beginning was sent."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields()})
    if isinstance(answer.body, bytes):
        if body.complete or body.gone:
            await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        else:
            await _send_early(send, body, answer.body)
        return
    if head:
        await _close(answer.body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    await _send_stream(send, body, answer.body, stopping)


async def _send_early(send: Send, body: BodySource, content: bytes) -> None:
    """Send the answer to a request whose body is still coming in, and take in the rest meanwhile."""
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with trio.move_on_after(_LINGER_SECONDS):
        await body.discard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body.wait_gone)  # the server cannot close while pieces of the body wait for us
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        nursery.cancel_scope.cancel()


async def _send_stream(
    send: Send, body: BodySource, stream: Stream | EventStream, stopping: trio.Event
) -> None:
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, body, nursery.cancel_scope)
        try:
            if isinstance(stream, EventStream):
                await _send_events(send, stream, stopping)
            else:
                await _send_chunks(send, stream)
        except (Exception, SystemExit) as error:
            failure = error
        except BaseExceptionGroup as group:
            passing, failure = group.split((trio.Cancelled, KeyboardInterrupt, GeneratorExit))
            if passing is not None:
                raise passing from None
        if failure is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise StreamBroken() from failure


async def _cancel_when_gone(body: BodySource, scope: trio.CancelScope) -> None:
    await body.wait_gone()
    scope.cancel()


async def _send_chunks(send: Send, stream: Stream) -> None:
    try:
        async for chunk in stream.chunks:
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await _close(stream)


async def _send_events(send: Send, stream: EventStream, stopping: trio.Event) -> None:
    """Send events as they come, a comment when none came for a while, until they end or the daemon stops."""
    retry = f"retry: {int(stream.retry_seconds * 1000)}\n\n".encode()
    await send({"type": "http.response.body", "body": retry, "more_body": True})
    into, events = trio.open_memory_channel[bytes](0)

    async def produce() -> None:
        async with into:
            try:
                async for event in stream.events:
                    await into.send(encode_event(event))
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await _close(stream)

    async def stop() -> None:
        await stopping.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery, events:
        nursery.start_soon(produce)
        nursery.start_soon(stop)
        with suppress(trio.EndOfChannel):
            while True:
                piece = _HEARTBEAT
                with trio.move_on_after(stream.heartbeat_seconds):
                    piece = await events.receive()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        nursery.cancel_scope.cancel()


async def _close(stream: Stream | EventStream) -> None:
    source: AsyncIterable[Any] = stream.chunks if isinstance(stream, Stream) else stream.events
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
