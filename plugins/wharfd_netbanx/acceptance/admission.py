"""From a delivery to an admission: verify, read, identify. Plain functions, no I/O; this is the hot path.

What is refused is refused here. What is admitted is a value that can be stored now, or spooled and stored
after an outage, with the same result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec

from wharfd import new_id, new_trace_id

from ..config import Source
from ..model.envelope import Unreadable, parse, short_text
from ..model.identity import Identity, identify, identify_item
from ..model.ordering import happened_at
from ..model.vocabulary import Kind
from ..schemes import Answer, Headers, IdentityRule, Item, Reason, Verdict, Verifier

# Half of a SHA-256: enough to tell events apart for good, and half the size of the index that does it.
IDENTITY_BYTES = 16
# What is worth keeping of a request: what a signature was in, what the provider called it, who sent it.
_KEPT = re.compile(
    rb"^(content-type|user-agent|date|traceparent|x-request-id|x-forwarded-for|via"
    rb"|webhook-.*|svix-.*|paypal-.*|x-cc-.*|x-shopify-.*|x-github-.*|x-square-.*"
    rb"|.*(signature|hmac|digest).*)$",
    re.IGNORECASE,
)
_TRACE = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_NO_TRACE = "0" * 32
_UNKNOWN_PRIORITY = 100
_UNKNOWN = Kind.UNKNOWN.value
_MAX_KEPT = 40
_encode = msgspec.json.Encoder().encode


class Arrival(Protocol):
    """What is needed of a delivery; both listeners have it."""

    @property
    def path(self) -> str:
        """The path it came by."""
        ...

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The raw headers."""
        ...

    @property
    def body(self) -> bytes:
        """The exact bytes that were signed."""
        ...

    @property
    def client(self) -> Any:
        """The sender's address."""
        ...

    @property
    def received_at(self) -> datetime:
        """The wall clock at the last byte."""
        ...

    @property
    def received_monotonic(self) -> float:
        """The monotonic clock at the last byte."""
        ...


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """All about a delivery that is kept beside the body and never searched by; stored as JSON.

    `arrived_at` and `monotonic` are the listener's two clocks, `item` the place of the event where a delivery
    carries several.
    """

    headers: list[tuple[str, str]]
    path: str
    client: str
    arrived_at: datetime
    monotonic: float
    scheme: str
    verdict: str
    identity_by: str
    kind: str
    shape: str
    known: bool = True
    key_id: str | None = None
    old_key: bool = False
    signed_at: datetime | None = None
    provider_event_id: str | None = None
    mode: str | None = None
    happened_at: datetime | None = None
    item: int | None = None
    notes: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event of a delivery; `receipt` is JSON."""

    id: str
    identity: bytes
    content: bytes
    name: str
    resource_id: str | None
    merchant_ref: str | None
    receipt: str
    priority: int


class Admission(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A verified delivery, ready to be stored; `answer` is the success answer its scheme insists on."""

    source: str
    owner: str | None
    trace_id: str
    body: bytes
    entries: tuple[Entry, ...]
    key_id: str | None = None
    answer: Answer | None = None
    old_key: bool = False


@dataclass(slots=True)
class Gate:
    """What one source's deliveries are checked with. The verifier is replaced when stored keys change."""

    name: str
    source: Source
    verifier: Verifier
    rule: IdentityRule

    @property
    def derives(self) -> bool:
        """Whether transactions and accounts follow from this source's events: Paysafe's envelopes do."""
        return self.rule == "paysafe"


def examine(gate: Gate, arrival: Arrival, certificate: bytes | None = None) -> Admission | Verdict:
    """Return the admission of a delivery, or the verdict that refuses it. Never raises on what was sent."""
    body, at = arrival.body, arrival.received_at
    verdict = gate.verifier.verify(Headers(arrival.headers), body, at, certificate)
    if not verdict.ok:
        return verdict
    headers, trace_id = _keep(arrival.headers)
    if verdict.items:
        entries = tuple(_item_entry(gate, arrival, verdict, headers, item) for item in verdict.items)
    else:
        entries = (_entry(gate, arrival, verdict, headers),)
    owner, key = gate.source.owner, verdict.key_id
    return Admission(gate.name, owner, trace_id, body, entries, key, verdict.reply, verdict.old_key)


@dataclass(frozen=True, slots=True)
class _Found:
    """A body that nobody delivered: it was found by asking the provider."""

    body: bytes
    received_at: datetime
    path: str = "(asked)"
    client: str = ""
    received_monotonic: float = 0.0

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """None were sent."""
        return []


def admit_found(gate: Gate, body: bytes, at: datetime) -> Admission:
    """Return an event that was found by asking the provider as if it had been delivered, and marked so."""
    verdict = Verdict(ok=True, reason=Reason.OK)
    entry = _entry(gate, _Found(body, at), verdict, [])
    return Admission(gate.name, gate.source.owner, new_trace_id(), body, (entry,))


def _entry(gate: Gate, arrival: Arrival, verdict: Verdict, headers: list[tuple[str, str]]) -> Entry:
    body, at = arrival.body, arrival.received_at
    envelope = parse(body)
    identity = identify(
        gate.name, body, envelope, rule=gate.rule, provider_event_id=verdict.provider_event_id
    )
    if isinstance(envelope, Unreadable):
        receipt = _receipt(gate, arrival, verdict, headers, identity.by, notes=(envelope.reason,))
        return _made(identity, receipt, at)
    meaning, derives = envelope.meaning, gate.derives
    receipt = _receipt(
        gate,
        arrival,
        verdict,
        headers,
        identity.by,
        kind=meaning.kind.value if derives else _UNKNOWN,
        shape=envelope.shape,
        known=meaning.known,
        provider_event_id=verdict.provider_event_id or envelope.event_id,
        mode=envelope.mode,
        happened_at=happened_at(envelope, at),
        notes=envelope.notes,
    )
    return _made(
        identity,
        receipt,
        at,
        name=short_text(envelope.name) or "",
        resource_id=short_text(envelope.resource_id),
        merchant_ref=short_text(envelope.payload.get("merchantRefNum")),
        priority=meaning.priority if derives else _UNKNOWN_PRIORITY,
    )


def _item_entry(
    gate: Gate, arrival: Arrival, verdict: Verdict, headers: list[tuple[str, str]], item: Item
) -> Entry:
    data = item.data
    identity = identify_item(gate.name, data, item.event_id)
    receipt = _receipt(
        gate,
        arrival,
        verdict,
        headers,
        identity.by,
        shape="item",
        provider_event_id=item.event_id,
        item=item.index,
    )
    return _made(
        identity,
        receipt,
        arrival.received_at,
        name=short_text(data.get("eventCode")) or "",
        resource_id=short_text(data.get("pspReference")),
        merchant_ref=short_text(data.get("merchantReference")),
    )


def _receipt(
    gate: Gate,
    arrival: Arrival,
    verdict: Verdict,
    headers: list[tuple[str, str]],
    identity_by: str,
    *,
    kind: str = _UNKNOWN,
    shape: str = "unreadable",
    known: bool = False,
    provider_event_id: str | None = None,
    mode: str | None = None,
    happened_at: datetime | None = None,
    item: int | None = None,
    notes: tuple[str, ...] = (),
) -> str:
    receipt = Receipt(
        headers,
        arrival.path,
        str(arrival.client or ""),
        arrival.received_at,
        arrival.received_monotonic,
        gate.verifier.scheme,
        verdict.reason.value,
        identity_by,
        kind,
        shape,
        known,
        verdict.key_id,
        verdict.old_key,
        verdict.signed_at,
        short_text(provider_event_id) if provider_event_id else None,
        short_text(mode, 16) if mode else None,
        happened_at,
        item,
        notes,
    )
    try:
        return _encode(receipt).decode()
    except UnicodeEncodeError:  # a lone surrogate in a note quotes what the provider wrote
        plain = tuple(note.encode("utf-8", "replace").decode() for note in notes)
        return _encode(msgspec.structs.replace(receipt, notes=plain)).decode()


def _made(
    identity: Identity,
    receipt: str,
    at: datetime,
    *,
    name: str = "",
    resource_id: str | None = None,
    merchant_ref: str | None = None,
    priority: int = _UNKNOWN_PRIORITY,
) -> Entry:
    return Entry(
        new_id("evt", at_ms=int(at.timestamp() * 1000)),
        identity.key[:IDENTITY_BYTES],
        identity.content[:IDENTITY_BYTES],
        name,
        resource_id,
        merchant_ref,
        receipt,
        priority,
    )


_wanted: dict[bytes, str | None] = {}


def _keep(headers: list[tuple[bytes, bytes]]) -> tuple[list[tuple[str, str]], str]:
    """Return the headers worth keeping, and the trace id: the sender's, else a new one."""
    kept: list[tuple[str, str]] = []
    trace_id = ""
    for name, value in headers:
        try:
            known = _wanted[name]
        except KeyError:
            known = name.decode("latin-1").lower() if _KEPT.match(name) else None
            # Remembered because providers send the same names every time; a flood of new ones is not.
            if len(_wanted) < 256 and len(name) <= 64:
                _wanted[name] = known
        if known is None or len(kept) >= _MAX_KEPT:
            continue
        if known == "traceparent" and (match := _TRACE.match(value)):
            trace_id = match[1].decode()
        kept.append((known, value.decode("latin-1").replace("\0", "\ufffd")))
    if not trace_id or trace_id == _NO_TRACE:
        trace_id = new_trace_id()
    return kept, trace_id
