"""Adyen: standard notifications carry one signature per item inside the body and want `[accepted]` back.

The newer form (balance platform, management) signs the raw body in a header and is `HmacBody` with the
preset `adyen-header`.
"""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from .bodies import UNREADABLE
from .interface import Answer, Headers, Item, Reason, Verdict, refuse
from .keys import Key, KeyRing

ACCEPTED = Answer(200, b"[accepted]", "text/plain")
# Adyen sends one item in JSON; the bound keeps a forged body from costing more than a few computations.
MAX_ITEMS = 100

_decode = msgspec.json.Decoder().decode


class AdyenItems:
    """Verifies every item of `notificationItems`; one bad item refuses the whole delivery.

    Adyen signs eight fields of an item (references, account, amount, code, success) and nothing else:
    `additionalData`, `eventDate` and `reason` are not protected, so decide nothing important by them alone.
    """

    def __init__(self, keys: Sequence[Key], *, scheme: str = "adyen") -> None:
        self.scheme = scheme
        self._ring = KeyRing(keys)

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Accept when every item carries a signature by an active key."""
        found = _read_items(body)
        if found is None:
            return refuse(Reason.UNREADABLE)
        if not found or len(found) > MAX_ITEMS:
            return refuse(Reason.SIGNATURE_MALFORMED)
        active = self._ring.active(now)
        if not active:
            return refuse(Reason.NO_ACTIVE_KEY)
        items, oldest = [], 0
        for index, data in enumerate(found):
            reason, position = _check(data, active)
            oldest = max(oldest, position)
            items.append(Item(index, reason is Reason.OK, reason, _event_id(data), data))
        bad = next((item.reason for item in items if not item.ok), None)
        if bad is not None:
            refusal = refuse(bad)
            return Verdict(ok=False, reason=bad, items=tuple(items), reply=refusal.reply)
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=items[0].event_id if len(items) == 1 else None,
            key_id=active[oldest].id,
            old_key=oldest > 0,
            items=tuple(items),
            reply=ACCEPTED,
        )

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Put a signature into every item of `body` with the newest key active at `now`."""
        key = self._ring.active(now)[0]
        document = msgspec.json.decode(body)
        for entry in document["notificationItems"]:
            data = entry["NotificationRequestItem"]
            data.setdefault("additionalData", {})["hmacSignature"] = _signature(key, _signed_text(data))
        return msgspec.json.encode(document), {}


def _read_items(body: bytes) -> list[dict[str, Any]] | None:
    """Return the items, or None when the body is not a notification at all."""
    try:
        document = _decode(body)
    except UNREADABLE:
        return None
    entries = document.get("notificationItems") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    items = []
    for entry in entries:
        data = entry.get("NotificationRequestItem") if isinstance(entry, dict) else None
        if not isinstance(data, dict):
            return None
        items.append(data)
    return items


def _check(data: dict[str, Any], active: tuple[Key, ...]) -> tuple[Reason, int]:
    extra = data.get("additionalData")
    presented = extra.get("hmacSignature") if isinstance(extra, dict) else None
    if presented is None or presented == "":
        return Reason.SIGNATURE_MISSING, 0
    if not isinstance(presented, str) or len(presented) != 44 or not presented.isascii():
        return Reason.SIGNATURE_MALFORMED, 0
    message = _signed_text(data)
    matched = None
    for position, key in enumerate(active):
        if hmac.compare_digest(_signature(key, message), presented) and matched is None:
            matched = position
    return (Reason.SIGNATURE_MISMATCH, 0) if matched is None else (Reason.OK, matched)


def _signature(key: Key, message: bytes) -> str:
    return b2a_base64(hmac.digest(key.secret, message, "sha256"), newline=False).decode("ascii")


def _signed_text(data: dict[str, Any]) -> bytes:
    """The eight fields joined by colons, unescaped; what is absent is empty."""
    amount = data.get("amount")
    amount = amount if isinstance(amount, dict) else {}
    fields = (
        data.get("pspReference"),
        data.get("originalReference"),
        data.get("merchantAccountCode"),
        data.get("merchantReference"),
        amount.get("value"),
        amount.get("currency"),
        data.get("eventCode"),
        data.get("success"),
    )
    return ":".join(_text(field) for field in fields).encode()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _event_id(data: dict[str, Any]) -> str | None:
    """Adyen repeats a notification with the same code, reference and success."""
    parts = [data.get("eventCode"), data.get("pspReference"), data.get("success")]
    return ":".join(_text(part) for part in parts)[:255] if parts[0] and parts[1] else None
