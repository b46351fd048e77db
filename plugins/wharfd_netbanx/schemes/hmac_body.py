"""HMAC over the raw body (or over a text built around it), in one header: Paysafe, GitHub, Shopify,
Coinbase Commerce, Square, and any provider that can be described the same way.

The signature is compared as text against the one right spelling of it, so that no second spelling of the
same digest (another case, loose base64 bits) is ever accepted.
"""

from __future__ import annotations

import base64
import hmac
import re
from binascii import b2a_base64, hexlify
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from .bodies import EventId
from .interface import Headers, Reason, Verdict, refuse
from .keys import Key, KeyRing, digest_size

DigestEncoding = Literal["base64", "base64url", "hex", "hex_upper"]

_TOKEN = re.compile(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
_PART = re.compile(r"\{(\w+)\}")


def _base64(digest: bytes) -> bytes:
    return b2a_base64(digest, newline=False)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": _base64,
    "base64url": base64.urlsafe_b64encode,
    "hex": hexlify,
    "hex_upper": lambda digest: hexlify(digest).upper(),
}


def header_name(name: str, setting: str) -> bytes:
    """Return a header name ready for look-up; raises ValueError when it cannot be one."""
    if not _TOKEN.match(name):
        raise ValueError(f"{setting}: {name!r} is not a header name")
    return name.lower().encode()


class HmacBody:
    """Verifies `header: prefix + encode(HMAC(key, signed))`.

    `signed` is the text that is signed, `{body}` by default; `{url}` stands for the configured public URL,
    `{timestamp}` for the value of `timestamp_header`, `{id}` for that of `id_header`.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        *,
        scheme: str,
        signature_header: str,
        digest: str = "sha256",
        digest_encoding: DigestEncoding = "base64",
        prefix: str = "",
        signed: str = "{body}",
        public_url: str | None = None,
        timestamp_header: str | None = None,
        tolerance: timedelta = timedelta(minutes=5),
        id_header: str | None = None,
        id_field: tuple[str, ...] = (),
    ) -> None:
        self.scheme = scheme
        self._ring = KeyRing(keys)
        if digest_encoding not in ENCODERS:
            raise ValueError(f"digest_encoding {digest_encoding!r} is none of {', '.join(ENCODERS)}")
        self._encode = ENCODERS[digest_encoding]
        self._digest = digest
        self._prefix = prefix.encode("ascii")
        # Every right signature has exactly this length: anything else costs no computation.
        self._length = len(self._prefix) + len(self._encode(bytes(digest_size(digest))))
        self._header_text = signature_header
        self._header = header_name(signature_header, "signature_header")
        self._id_header_text = id_header
        self._id_header = header_name(id_header, "id_header") if id_header else None
        self._event_id = EventId(id_field) if id_field else None
        self._timestamp_text = timestamp_header
        self._timestamp = header_name(timestamp_header, "timestamp_header") if timestamp_header else None
        self._tolerance = tolerance
        self._parts = self._compile(signed, public_url)

    def _compile(self, signed: str, public_url: str | None) -> tuple[bytes | str, ...] | None:
        """Split the template into fixed bytes and names of parts; None is the plain body."""
        if signed == "{body}":
            return None
        pieces = _PART.split(signed)
        parts: list[bytes | str] = []
        for position, piece in enumerate(pieces):
            if position % 2 == 0:
                parts.append(piece.encode())
            elif piece == "url":
                if not public_url:
                    raise ValueError(f"public_url: missing; {self.scheme} signs the address it posts to")
                parts.append(public_url.encode())
            elif piece in ("body", "timestamp", "id"):
                parts.append(piece)
            else:
                raise ValueError(f"signed: {{{piece}}} is none of {{body}}, {{url}}, {{timestamp}}, {{id}}")
        if "body" not in parts:
            raise ValueError("signed: {body} is missing; a signature must cover the body")
        if "timestamp" in parts and self._timestamp is None:
            raise ValueError("timestamp_header: missing; {timestamp} is taken from it")
        if "id" in parts and self._id_header is None:
            raise ValueError("id_header: missing; {id} is taken from it")
        return tuple(part for part in parts if part)

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Compute once per active key and compare in constant time."""
        presented = headers.one(self._header)
        if isinstance(presented, Reason):
            missing = presented is Reason.HEADER_MISSING
            return refuse(Reason.SIGNATURE_MISSING if missing else presented)
        if len(presented) != self._length:
            return refuse(Reason.SIGNATURE_MALFORMED)
        message, signed_at = body, None
        if self._parts is not None:
            built = self._build(headers, body, now)
            if isinstance(built, Reason):
                return refuse(built)
            message, signed_at = built
        active = self._ring.active(now)
        if not active:
            return refuse(Reason.NO_ACTIVE_KEY)
        prefix, encode, digest = self._prefix, self._encode, self._digest
        matched = None
        for position, key in enumerate(active):
            expected = prefix + encode(hmac.digest(key.secret, message, digest))
            # No early way out: the time taken must not tell which key matched.
            if hmac.compare_digest(expected, presented) and matched is None:
                matched = position
        if matched is None:
            return refuse(Reason.SIGNATURE_MISMATCH)
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=self._provider_event_id(headers, body),
            signed_at=signed_at,
            key_id=active[matched].id,
            old_key=matched > 0,
        )

    def _build(self, headers: Headers, body: bytes, now: datetime) -> tuple[bytes, datetime | None] | Reason:
        assert self._parts is not None
        signed_at = None
        values: dict[str, bytes] = {"body": body}
        if self._timestamp is not None:
            stamp = headers.one(self._timestamp)
            if isinstance(stamp, Reason):
                return stamp
            moment = read_timestamp(stamp)
            if moment is None:
                return Reason.TIMESTAMP_MALFORMED
            late = check_window(moment, now, self._tolerance)
            if late is not None:
                return late
            values["timestamp"], signed_at = stamp, moment
        if self._id_header is not None:
            identifier = headers.one(self._id_header)
            if isinstance(identifier, Reason):
                if "id" in self._parts:
                    return identifier
            else:
                values["id"] = identifier
        return b"".join(values[p] if isinstance(p, str) else p for p in self._parts), signed_at

    def _provider_event_id(self, headers: Headers, body: bytes) -> str | None:
        if self._id_header is not None:
            return headers.text(self._id_header)
        return self._event_id.read(body) if self._event_id is not None else None

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Sign with the newest key active at `now`."""
        key = self._ring.active(now)[0]
        headers: dict[str, str] = {}
        if self._timestamp_text:
            headers[self._timestamp_text] = str(int(now.timestamp()))
        if self._id_header_text:
            headers[self._id_header_text] = event_id
        message = body
        if self._parts is not None:
            built = self._build(Headers(headers), body, now)
            assert not isinstance(built, Reason)
            message = built[0]
        value = self._prefix + self._encode(hmac.digest(key.secret, message, self._digest))
        headers[self._header_text] = value.decode("ascii")
        return body, headers


def read_timestamp(text: bytes) -> datetime | None:
    """Read a Unix time in whole seconds; None for anything else."""
    # isdigit() of bytes is ASCII only; 12 digits reach the year 33658 and fit every platform.
    if not text.isdigit() or len(text) > 12:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def check_window(moment: datetime, now: datetime, tolerance: timedelta) -> Reason | None:
    """Return why a signed time is out of tolerance (both ways), or None when it is not."""
    if now - moment > tolerance:
        return Reason.TIMESTAMP_TOO_OLD
    if moment - now > tolerance:
        return Reason.TIMESTAMP_IN_FUTURE
    return None
