"""The NETBANX hosted page of old (UPP): a form post with `nbx_checksum`, a plain SHA-1 over joined fields.

Weak by design: SHA-1 without HMAC, nothing between the fields, and `nbx_status` is not covered at all, so
who has seen one passed payment can claim it again as failed. Off unless the operator asks for it by name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from .interface import Headers, Item, Reason, Verdict, refuse
from .keys import Key, KeyRing

_SIGNED = ("nbx_payment_amount", "nbx_currency_code", "nbx_merchant_reference", "nbx_netbanx_reference")
_MAX_FIELDS = 100
# Fixed shapes of the first two fields take most of the ambiguity out of the joined text.
_SHAPES = {
    "nbx_payment_amount": re.compile(r"^\d{1,15}(\.\d{1,4})?$"),
    "nbx_currency_code": re.compile(r"^[A-Z]{3}$"),
}


class LegacyUpp:
    """Verifies `sha1(amount + currency + merchant reference + netbanx reference + key)` in lower-case hex."""

    def __init__(
        self, keys: Sequence[Key], *, allow_weak_checksum: bool = False, scheme: str = "legacy-upp"
    ) -> None:
        if not allow_weak_checksum:
            raise ValueError(
                "allow_weak_checksum: missing; this scheme is plain SHA-1 and does not cover the status; "
                "set allow_weak_checksum = true to use it all the same"
            )
        self.scheme = scheme
        self._ring = KeyRing(keys)

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Accept when the checksum fits an active key; the form's fields are the one item."""
        fields = _read_form(body)
        if fields is None:
            return refuse(Reason.UNREADABLE)
        presented = fields.get("nbx_checksum", "")
        if not presented:
            return refuse(Reason.SIGNATURE_MISSING)
        if len(presented) != 40 or not presented.isascii():
            return refuse(Reason.SIGNATURE_MALFORMED)
        if any(not shape.match(fields.get(name, "")) for name, shape in _SHAPES.items()):
            return refuse(Reason.SIGNATURE_MALFORMED)
        active = self._ring.active(now)
        if not active:
            return refuse(Reason.NO_ACTIVE_KEY)
        matched = None
        for position, key in enumerate(active):
            if hmac.compare_digest(_checksum(fields, key), presented) and matched is None:
                matched = position
        if matched is None:
            return refuse(Reason.SIGNATURE_MISMATCH)
        reference = fields.get("nbx_netbanx_reference") or None
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=reference[:255] if reference else None,
            key_id=active[matched].id,
            old_key=matched > 0,
            items=(Item(0, True, Reason.OK, reference, dict(fields)),),
        )

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Add the checksum to a form body with the newest key active at `now`."""
        fields = _read_form(body)
        if fields is None:
            raise ValueError("the body is not a form")
        fields["nbx_checksum"] = _checksum(fields, self._ring.active(now)[0])
        return urlencode(fields).encode("ascii"), {"Content-Type": "application/x-www-form-urlencoded"}


def _read_form(body: bytes) -> dict[str, str] | None:
    """Return the fields, or None when the body is no form or names a field twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=_MAX_FIELDS,
            errors="strict",
        )
    except ValueError:  # UnicodeDecodeError is one too
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def _checksum(fields: dict[str, str], key: Key) -> str:
    text = "".join(fields.get(name, "") for name in _SIGNED).encode() + key.secret
    return hashlib.sha1(text).hexdigest()  # noqa: S324 - the provider's choice, see the module text
