"""What a handler may return, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .headers import checked_fields, wire_fields

JSON = "application/json"


@dataclass(frozen=True)
class Reply:
    """An answer with its own status and fields. `body` is bytes, text, or anything that becomes JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None


@dataclass(frozen=True)
class Stream:
    """An answer sent piece by piece, in constant memory.

    `length` is the number of bytes when it is known; `filename` makes a browser save it.
    """

    chunks: AsyncIterable[bytes]
    content_type: str = "application/octet-stream"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    filename: str | None = None


@dataclass(frozen=True)
class Event:
    """One server-sent event; `id` is what a reconnecting client sends back as Last-Event-ID."""

    data: Any
    event: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class EventStream:
    """Server-sent events: `events` gives `(event, data)` pairs or `Event`s until it ends or the client goes.

    A comment line keeps the connection alive every `heartbeat_seconds`. When the daemon stops, the stream
    ends and the client comes back by itself with `Last-Event-ID` (`request.last_event_id`).
    """

    events: AsyncIterable[tuple[str, Any] | Event]
    headers: Mapping[str, str] = field(default_factory=dict)
    heartbeat_seconds: float = 15.0
    retry_seconds: float = 3.0


@dataclass
class Answer:
    """What goes on the wire: a status, header fields, and the bytes or where they come from."""

    status: int
    headers: dict[str, str]
    body: bytes | Stream | EventStream = b""

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields as bytes."""
        return wire_fields(self.headers)


def _encode_other(value: Any) -> Any:
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} cannot become JSON")


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def encode_json(value: Any) -> bytes:
    """Any Struct, dict, list, database record or plain value as JSON."""
    return _encoder.encode(value)


def to_answer(value: Any, status: int) -> Answer:
    """Turn what a handler returned into an answer; `status` is the route's. None becomes 204."""
    if isinstance(value, Reply):
        return _from_reply(value)
    if isinstance(value, Stream):
        return _from_stream(value)
    if isinstance(value, EventStream):
        headers = {
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        return Answer(200, headers | checked_fields(value.headers), value)
    if value is None:
        return Answer(204 if status == 200 else status, {})
    return Answer(status, {"content-type": JSON}, encode_json(value))


def _from_reply(reply: Reply) -> Answer:
    headers = checked_fields(reply.headers)
    if isinstance(reply.body, bytes):
        body, kind = reply.body, "application/octet-stream"
    elif isinstance(reply.body, str):
        body, kind = reply.body.encode(), "text/plain; charset=utf-8"
    elif reply.body is None:
        body, kind = b"", ""
    else:
        body, kind = encode_json(reply.body), JSON
    kind = reply.content_type or kind
    if kind and (body or reply.content_type):
        headers.setdefault("content-type", kind)
    return Answer(reply.status, headers, body)


def _from_stream(stream: Stream) -> Answer:
    headers = {"content-type": stream.content_type} | checked_fields(stream.headers)
    if stream.filename is not None:
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in stream.filename)
        headers.setdefault("content-disposition", f'attachment; filename="{safe}"')
    if stream.length is not None:
        headers["content-length"] = str(stream.length)
    return Answer(stream.status, headers, stream)


def encode_event(event: tuple[str, Any] | Event) -> bytes:
    """One event in the form of `text/event-stream`; data that is not text becomes JSON."""
    if not isinstance(event, Event):
        event = Event(event=event[0], data=event[1])
    data = event.data if isinstance(event.data, str) else encode_json(event.data).decode()
    lines = [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    if event.event is not None:
        lines.insert(0, f"event: {_one_line(event.event)}")
    if event.id is not None:
        lines.insert(0, f"id: {_one_line(event.id)}")
    return ("\n".join(lines) + "\n\n").encode()


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
