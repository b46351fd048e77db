"""Signatures as Standard Webhooks 1.0 has them, and the headers of older receivers.

Signed is `id.timestamp.body`, exactly the bytes that are sent. While secrets overlap, each of them signs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal

from wharfd import FRAMING_HEADERS, HeaderRefused, check_header

from .keys import SigningKey

LegacyScheme = Literal["none", "x-webhook"]
Casing = Literal["lower", "canonical"]

STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
LEGACY_HEADERS = (
    "X-Webhook-Id",
    "X-Webhook-Event",
    "X-Webhook-Delivery",
    "X-Webhook-Timestamp",
    "X-Webhook-Signature",
)
RESERVED_HEADERS = (
    frozenset(["content-type", "user-agent", "cookie", "traceparent", *STANDARD_HEADERS])
    | frozenset(name.lower() for name in LEGACY_HEADERS)
    | FRAMING_HEADERS
)
MAX_CUSTOM_HEADERS = 20


def sign(message_id: str, timestamp: int, body: bytes, keys: Sequence[SigningKey]) -> str:
    """Return the value of `webhook-signature`: one signature per key, newest first, joined by spaces."""
    if "." in message_id or not message_id:
        raise ValueError(
            "a message id must not be empty and must not hold a dot: it is part of what is signed"
        )
    if not keys:
        raise ValueError("an endpoint without a secret cannot be sent to")
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(key, signed) for key in keys)


def _signature(key: SigningKey, signed: bytes) -> str:
    digest = key.private.sign(signed) if key.private else hmac.digest(key.raw, signed, "sha256")
    return f"{key.kind},{base64.b64encode(digest).decode('ascii')}"


def sign_legacy(body: bytes, key: SigningKey) -> str:
    """Return `sha256=<hex>`: HMAC-SHA256 over the body alone, keyed with the secret's written text."""
    return "sha256=" + hmac.new(key.text.encode(), body, hashlib.sha256).hexdigest()


def delivery_headers(
    *,
    message_id: str,
    delivery_id: str,
    event_type: str,
    timestamp: int,
    body: bytes,
    keys: Sequence[SigningKey],
    custom: Mapping[str, str],
    legacy: LegacyScheme = "none",
    casing: Casing = "lower",
) -> list[tuple[str, str]]:
    """Return all headers of one delivery; the custom ones come last and never replace ours."""
    values = (message_id, str(timestamp), sign(message_id, timestamp, body, keys))
    names = STANDARD_HEADERS if casing == "lower" else tuple(map(canonical, STANDARD_HEADERS))
    headers = [("Content-Type", "application/json"), *zip(names, values, strict=True)]
    symmetric = next((key for key in keys if key.kind == "v1"), None)
    if legacy == "x-webhook" and symmetric is not None:
        signature = sign_legacy(body, symmetric)
        older = (message_id, event_type, delivery_id, str(timestamp), signature)
        headers += zip(LEGACY_HEADERS, older, strict=True)
    headers += [(name, value) for name, value in custom.items() if name.lower() not in RESERVED_HEADERS]
    return headers


def canonical(name: str) -> str:
    """Return `Webhook-Id` for `webhook-id`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def header_problems(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with custom headers, by name; empty when they can be sent."""
    problems: dict[str, str] = {}
    if len(headers) > MAX_CUSTOM_HEADERS:
        problems[""] = f"at most {MAX_CUSTOM_HEADERS} headers, not {len(headers)}"
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        try:
            check_header(name, value)
        except HeaderRefused as error:
            problems[name] = str(error)
            continue
        if lower in RESERVED_HEADERS:
            problems[name] = f"the header {name} is set by wharfd itself"
        elif lower in seen:
            problems[name] = f"the header {name} is given twice"
        seen.add(lower)
    return problems
