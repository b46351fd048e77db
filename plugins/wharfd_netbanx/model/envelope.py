"""From bytes to an `Envelope`: every shape Paysafe sends, read into one form, with wrong types as absent.

Nothing here refuses a delivery. Bytes that are no JSON object become `Unreadable`, which is kept and
acknowledged like any signed body and looked at by a person.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from ..schemes.bodies import UNREADABLE
from .vocabulary import Meaning, interpret, normalise_name

# Far deeper than any provider nests, far below where decoders give up (which depends on the caller's stack).
MAX_DEPTH = 100
_BRACKETS = re.compile(rb'"(?:[^"\\\\]|\\\\.)*+"?|[\[\]{}]', re.DOTALL)  # strings are passed over whole
# What a column takes of a text the provider chose.
MAX_TEXT = 255
_MAX_TIME = 64

Shape = Literal["payments", "direct_debit", "variables", "alternate", "account", "wallet", "test", "other"]

_decode = msgspec.json.Decoder().decode
_NAMES = ("eventName", "EventName", "eventType", "event_type", "event")


class Link(msgspec.Struct, frozen=True):
    """One link of an envelope, to the resource or to something near it."""

    rel: str
    href: str


class Unreadable(msgspec.Struct, frozen=True):
    """A body that is not a JSON object, and why."""

    reason: str


class Envelope(msgspec.Struct, frozen=True):
    """One event, whatever shape it came in.

    `name` is normalised, empty when the body names no event. `resource_id` is what the event is about, in
    the payload's words before the envelope's. `event_id` is the top-level id: it may be the request's or the
    resource's, so nothing is told apart by it. `*_text` are exactly as sent. `notes` are oddities worth
    showing to a person.
    """

    shape: Shape
    name: str
    meaning: Meaning
    document: dict[str, Any]
    payload: dict[str, Any]
    category: str | None
    event_id: str | None
    resource_id: str | None
    status_text: str | None
    time_text: str | None
    status_time: datetime | None
    event_date: datetime | None
    txn_time: datetime | None
    mode: str | None
    attempt: int | None
    notes: tuple[str, ...]

    @property
    def links(self) -> tuple[Link, ...]:
        """The links of the envelope, read when asked for."""
        inner = _object(self.document.get("variables")) or {}
        places = (self.document.get("links"), self.document.get("_links"), inner.get("links"))
        return _links(next((place for place in places if place), None))

    @property
    def is_connectivity_test(self) -> bool:
        """Whether this is the portal's test of the address: no resource, nothing to do."""
        return self.shape == "test"


def parse(body: bytes) -> Envelope | Unreadable:
    """Read a body; never raises. Of keys that stand twice the last one counts (`find_doubled_keys`)."""
    document = read_object(body)
    if isinstance(document, Unreadable):
        return document
    nested = _object(document.get("variables"))
    inner = nested if nested is not None and not isinstance(document.get("payload"), dict) else {}
    payload = _object(document.get("payload")) or _object(inner.get("payload")) or {}

    # What is said outside counts before what is said under `variables`.
    outer = {**inner, **{k: v for k, v in document.items() if v not in (None, "")}} if inner else document
    notes: list[str] = []
    category = _text(outer.get("type"))
    raw_name = None
    for key in _NAMES:
        if (raw_name := _text(outer.get(key))) is not None:
            break
    if raw_name is None and not payload and category is not None:
        raw_name, category = category, None  # without a payload, `type` is the event and not its category
    name = normalise_name(raw_name or "")
    resource_id = (
        _text(payload.get("id"))
        or _text(outer.get("resourceId"))
        or _text(payload.get("accountNumber"))
        or _text(outer.get("accountId"))
    )
    status_text = _text(payload.get("status")) or _text(payload.get("acctStatus"))
    event_date = outer.get("eventDate") or outer.get("timestamp")
    time_text = _scalar(payload.get("statusTime")) or _scalar(payload.get("txnTime")) or _scalar(event_date)
    shape = _shape(document, inner, payload, name, resource_id)
    meaning = interpret(name, category, status_text)
    other = _text(document.get("eventType"))
    if other is not None and other != raw_name and normalise_name(other) != name:
        notes.append(f"eventType {other[:MAX_TEXT]!r} differs from the event name")
    if not name:
        notes.append("the body names no event")
    return Envelope(
        shape=shape,
        name=name,
        meaning=meaning,
        document=document,
        payload=payload,
        category=category,
        event_id=_text(document.get("id")),
        resource_id=resource_id,
        status_text=status_text,
        time_text=time_text,
        status_time=read_time(payload.get("statusTime")),
        event_date=read_time(event_date),
        txn_time=read_time(payload.get("txnTime")),
        mode=_text(outer.get("mode")),
        attempt=_whole(outer.get("attemptNumber")),
        notes=tuple(notes),
    )


def read_object(body: bytes) -> dict[str, Any] | Unreadable:
    """Decode a JSON object, or say in a sentence why it is none."""
    if not body.strip():
        return Unreadable("the body is empty")
    # Before decoding: how deep a decoder can go without overrunning the stack is not ours to say.
    if _too_deep(body):
        return Unreadable(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        document = _decode(body)
    except UnicodeDecodeError:
        return Unreadable("the body is not valid UTF-8")
    except UNREADABLE as error:
        return Unreadable(f"the body is not JSON that can be read ({error})"[:MAX_TEXT])
    if not isinstance(document, dict):
        return Unreadable(f"the JSON is {_kind(document)} and not an object")
    return document


def _too_deep(body: bytes) -> bool:
    # Fewer brackets than levels cannot be too deep: true of nearly every body, and cheap to see.
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _BRACKETS.finditer(body):
        first = body[found.start()]
        if first in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"}]":
            depth -= 1
    return False


def find_doubled_keys(body: bytes) -> list[str]:
    """Return the keys that stand twice in one object; slower than `parse`, for looking at one event."""
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                doubled.append(key[:MAX_TEXT])
            seen.add(key)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return []
    return doubled


def storable(value: Any) -> Any:
    """Return JSON with NUL characters replaced: PostgreSQL takes them neither in text nor in jsonb."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {storable(key): storable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [storable(entry) for entry in value]
    return value


def short_text(value: Any, limit: int = MAX_TEXT) -> str | None:
    """Return a text fit for a column (no NUL, bounded), or None when `value` is no text or number."""
    text = _text(value)
    return None if text is None else text.replace("\0", "\ufffd")[:limit]


def read_time(value: Any) -> datetime | None:
    """Read ISO 8601 (UTC when it names no zone) or epoch milliseconds; None for anything else."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= _MAX_TIME:
        return _read_time_text(value)
    return _read_time(value)


@lru_cache(maxsize=4096)
def _read_time_text(value: str) -> datetime | None:
    # The same second is written three times in one event, and in all events of that second.
    return _read_time(value)


def _read_time(value: Any) -> datetime | None:
    if isinstance(value, str) and value.isdecimal() and value.isascii() and 12 <= len(value) <= 14:
        value = int(value)
    try:
        if isinstance(value, str) and len(value) <= _MAX_TIME:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # Seconds since 1970 would be far below: a number is milliseconds, between 2001 and 5138.
        if isinstance(value, int) and not isinstance(value, bool) and 10**12 <= value < 10**14:
            seconds, rest = divmod(value, 1000)
            return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _shape(
    document: dict[str, Any],
    inner: dict[str, Any],
    payload: dict[str, Any],
    name: str,
    resource_id: str | None,
) -> Shape:
    if name == "TEST" and resource_id is None and not payload:
        return "test"
    if inner:
        return "variables"
    if name.startswith("ACCT_") or "acctStatus" in payload:
        return "account"
    if "customerId" in document and not payload:
        return "wallet"
    if not payload:
        return "other"
    if "eventName" not in document and "EventName" not in document:
        return "alternate" if "eventType" in document else "direct_debit"
    return "payments" if "eventType" in document or "resourceId" in document else "direct_debit"


def _links(value: Any) -> tuple[Link, ...]:
    """Read a list of links, or HAL's object of links by name."""
    if isinstance(value, dict):
        value = [{"rel": rel, **link} for rel, link in value.items() if isinstance(link, dict)]
    if not isinstance(value, list):
        return ()
    found = (entry for entry in value[:50] if isinstance(entry, dict))
    links = ((_text(entry.get("rel")), _text(entry.get("href"))) for entry in found)
    return tuple(Link(rel or "", href) for rel, href in links if href)


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    # Some products send account numbers as numbers.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _scalar(value: Any) -> str | None:
    return str(value) if isinstance(value, float) else _text(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31 else None


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
