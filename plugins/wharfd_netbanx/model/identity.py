"""Which deliveries are the same event: the identity that duplicates are recognised by.

A transaction id or merchantRefNum alone never identifies an event (one payment has many), attemptNumber
never takes part (it changes between tries of one event), and a top-level id does not either (some products
put the resource's own id there). Fields are length-delimited before they are hashed, so that no two
different lists of fields can ever be the same bytes.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

import msgspec

from ..schemes.presets import IdentityRule
from .envelope import Envelope, Unreadable

# Changing anything about how an identity is computed means a new word here: old and new must never be mixed.
_VERSION = b"wharfd.netbanx.identity.1"
_ATTEMPT = "attemptNumber"
_LENGTHS = [b"+" + length.to_bytes(8, "big") for length in range(2048)]  # of nearly every field there is
_encode = msgspec.json.Encoder(order="deterministic").encode

By = Literal["event", "provider_id", "content", "raw"]


class Identity(msgspec.Struct, frozen=True):
    """`key` is the same for every delivery of one event; `content` also changes with what is said in it.

    Two deliveries with one key and different contents are worth an alert: both are kept.
    """

    key: bytes
    content: bytes
    by: By


def identify(
    endpoint: str,
    body: bytes,
    envelope: Envelope | Unreadable,
    *,
    rule: IdentityRule = "paysafe",
    provider_event_id: str | None = None,
) -> Identity:
    """Return the identity of a delivery to `endpoint` (the source's name, not the path it came by)."""
    if isinstance(envelope, Unreadable):
        content = digest("raw", body)
        if rule == "provider_id" and provider_event_id:
            return Identity(digest("provider", endpoint, provider_event_id), content, "provider_id")
        return Identity(digest("raw", endpoint, body), content, "raw")
    canonical = canonical_content(envelope.document)
    content = digest("content", canonical)
    if rule == "provider_id" and provider_event_id:
        return Identity(digest("provider", endpoint, provider_event_id), content, "provider_id")
    # Without a time, two events of one resource could look alike: then only equal contents are the same.
    if rule == "paysafe" and envelope.resource_id and envelope.time_text:
        what = envelope.name or f"type:{envelope.category}"
        key = digest("event", endpoint, what, envelope.resource_id, envelope.status_text, envelope.time_text)
        return Identity(key, content, "event")
    return Identity(digest("content", endpoint, canonical), content, "content")


def identify_item(endpoint: str, item: dict[str, Any], event_id: str | None) -> Identity:
    """Return the identity of one notification of a delivery that carries several."""
    canonical = canonical_content(item)
    content = digest("content", canonical)
    if event_id:
        return Identity(digest("provider", endpoint, event_id), content, "provider_id")
    return Identity(digest("content", endpoint, canonical), content, "content")


def canonical_content(document: dict[str, Any]) -> bytes:
    """Return JSON that is equal for every try of one event: keys sorted, attemptNumber left out."""
    rest = document.copy()
    rest.pop(_ATTEMPT, None)
    nested = rest.get("variables")
    if isinstance(nested, dict):
        rest["variables"] = {key: value for key, value in nested.items() if key != _ATTEMPT}
    return _encode(rest)


def digest(*fields: str | bytes | None) -> bytes:
    """Return the SHA-256 of the fields, each with its length before it; None is no empty text."""
    parts = [_VERSION]
    for field in fields:
        if field is None:
            parts.append(b"-")
            continue
        data = field.encode("utf-8", "surrogatepass") if isinstance(field, str) else field
        length = len(data)
        parts.append(_LENGTHS[length] if length < 2048 else b"+" + length.to_bytes(8, "big"))
        parts.append(data)
    return sha256(b"".join(parts)).digest()
