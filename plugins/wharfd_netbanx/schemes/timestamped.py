"""Schemes that sign the time together with the body: Stripe, and Standard Webhooks (v1 HMAC, v1a ed25519)."""

from __future__ import annotations

import base64
import binascii
import hmac
from binascii import b2a_base64, hexlify
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .bodies import EventId
from .hmac_body import check_window, read_timestamp
from .interface import MAX_SIGNATURES, Headers, Reason, Verdict, refuse
from .keys import Key, KeyEncoding, KeyRing, fingerprint

DEFAULT_TOLERANCE = timedelta(minutes=5)


def _check_tolerance(tolerance: timedelta) -> timedelta:
    if tolerance <= timedelta(0):
        raise ValueError("tolerance: must be longer than nothing")
    return tolerance


class Stripe:
    """`Stripe-Signature: t=…,v1=…[,v1=…]` over `{t}.{body}`, HMAC-SHA256 in hex; v0 is ignored."""

    def __init__(
        self,
        keys: Sequence[Key],
        *,
        scheme: str = "stripe",
        tolerance: timedelta = DEFAULT_TOLERANCE,
    ) -> None:
        self.scheme = scheme
        self._ring = KeyRing(keys)
        self._tolerance = _check_tolerance(tolerance)
        self._event_id = EventId(("id",))

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Accept when any v1 signature is by an active key and the time is within tolerance."""
        value = headers.one(b"stripe-signature")
        if isinstance(value, Reason):
            return refuse(Reason.SIGNATURE_MISSING if value is Reason.HEADER_MISSING else value)
        stamps, signatures = [], []
        for pair in value.split(b","):
            name, _, text = pair.strip().partition(b"=")
            if name == b"t":
                stamps.append(text)
            elif name == b"v1" and len(text) == 64:
                signatures.append(text)
        if len(stamps) != 1 or not signatures or len(signatures) > MAX_SIGNATURES:
            return refuse(Reason.SIGNATURE_MALFORMED)
        moment = read_timestamp(stamps[0])
        if moment is None:
            return refuse(Reason.TIMESTAMP_MALFORMED)
        late = check_window(moment, now, self._tolerance)
        if late is not None:
            return refuse(late)
        active = self._ring.active(now)
        if not active:
            return refuse(Reason.NO_ACTIVE_KEY)
        message = stamps[0] + b"." + body
        matched = None
        for position, key in enumerate(active):
            expected = hexlify(hmac.digest(key.secret, message, "sha256"))
            for signature in signatures:
                if hmac.compare_digest(expected, signature) and matched is None:
                    matched = position
        if matched is None:
            return refuse(Reason.SIGNATURE_MISMATCH)
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=self._event_id.read(body),
            signed_at=moment,
            key_id=active[matched].id,
            old_key=matched > 0,
        )

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Sign with the newest key active at `now`; the event id is the body's own."""
        stamp = str(int(now.timestamp()))
        key = self._ring.active(now)[0]
        digest = hmac.digest(key.secret, stamp.encode() + b"." + body, "sha256").hex()
        return body, {"Stripe-Signature": f"t={stamp},v1={digest}"}


def standard_key(
    text: str,
    encoding: KeyEncoding = "base64",
    *,
    id: str | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> Key:
    """Make a Standard Webhooks key of `whsec_…` (HMAC) or `whpk_…` (ed25519 public); raises ValueError.

    The part after the prefix is base64 by the specification; a key without prefix is taken for HMAC.
    """
    text = text.strip()
    public = text.startswith("whpk_")
    if text.startswith("whsk_"):
        raise ValueError("this is the private half (whsk_…) of a key pair; configure the public one (whpk_…)")
    rest = text.removeprefix("whpk_").removeprefix("whsec_")
    window = {"valid_from": valid_from, "valid_until": valid_until}
    if not public:
        return Key.typed(rest, encoding, id=id, **window)
    try:
        raw = base64.b64decode(rest, validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError):
        raise ValueError("the key after whpk_ is not a base64 ed25519 public key of 32 bytes") from None
    return Ed25519Key(id or fingerprint(raw), raw, **window)


class Ed25519Key(Key):
    """A public key; kept beside the secrets so that both kinds rotate the same way."""


class StandardWebhooks:
    """`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,… v1a,…` over `{id}.{timestamp}.{body}`."""

    def __init__(
        self,
        keys: Sequence[Key],
        *,
        scheme: str = "standard-webhooks",
        tolerance: timedelta = DEFAULT_TOLERANCE,
        header_prefix: str = "webhook",
    ) -> None:
        self.scheme = scheme
        self._ring = KeyRing(keys)
        self._tolerance = _check_tolerance(tolerance)
        self._names = tuple(f"{header_prefix}-{part}" for part in ("id", "timestamp", "signature"))
        self._lookup = tuple(name.lower().encode() for name in self._names)
        self._public = {
            key.id: Ed25519PublicKey.from_public_bytes(key.secret)
            for key in self._ring.keys
            if isinstance(key, Ed25519Key)
        }

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Accept when any signature of a known version is by an active key of that kind."""
        identifier, stamp, value = (headers.one(name) for name in self._lookup)
        if isinstance(value, Reason):
            return refuse(Reason.SIGNATURE_MISSING if value is Reason.HEADER_MISSING else value)
        for needed in (identifier, stamp):
            if isinstance(needed, Reason):
                return refuse(needed)
        assert isinstance(identifier, bytes)
        assert isinstance(stamp, bytes)
        symmetric, asymmetric = _split(value)
        count = len(symmetric) + len(asymmetric)
        if not 0 < count <= MAX_SIGNATURES or b"." in identifier or not identifier.isascii():
            # A full stop in the id would let the boundary between id and timestamp be moved.
            return refuse(Reason.SIGNATURE_MALFORMED)
        moment = read_timestamp(stamp)
        if moment is None:
            return refuse(Reason.TIMESTAMP_MALFORMED)
        late = check_window(moment, now, self._tolerance)
        if late is not None:
            return refuse(late)
        active = self._ring.active(now)
        if not active:
            return refuse(Reason.NO_ACTIVE_KEY)
        message = b"".join((identifier, b".", stamp, b".", body))
        matched = None
        for position, key in enumerate(active):
            if self._signed_by(key, message, symmetric, asymmetric) and matched is None:
                matched = position
        if matched is None:
            return refuse(Reason.SIGNATURE_MISMATCH)
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=identifier.decode("ascii"),
            signed_at=moment,
            key_id=active[matched].id,
            old_key=matched > 0,
        )

    def _signed_by(self, key: Key, message: bytes, symmetric: list[bytes], asymmetric: list[bytes]) -> bool:
        public = self._public.get(key.id)
        if public is not None:
            return any(_ed25519_ok(public, signature, message) for signature in asymmetric)
        if not symmetric:
            return False
        expected = b2a_base64(hmac.digest(key.secret, message, "sha256"), newline=False)
        found = False
        for signature in symmetric:
            found |= hmac.compare_digest(expected, signature)
        return found

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Sign (v1) with the newest secret active at `now`; public keys cannot sign."""
        secrets = [key for key in self._ring.active(now) if key.id not in self._public]
        if not secrets:
            raise ValueError("there is only a public key; signing needs a secret (whsec_…)")
        stamp = str(int(now.timestamp()))
        message = f"{event_id}.{stamp}.".encode() + body
        signature = b2a_base64(hmac.digest(secrets[0].secret, message, "sha256"), newline=False)
        identifier, timestamp, name = self._names
        return body, {identifier: event_id, timestamp: stamp, name: "v1," + signature.decode("ascii")}


def _split(value: bytes) -> tuple[list[bytes], list[bytes]]:
    symmetric, asymmetric = [], []
    for part in value.split():
        version, _, signature = part.partition(b",")
        if version == b"v1" and len(signature) == 44:
            symmetric.append(signature)
        elif version == b"v1a" and len(signature) == 88:
            asymmetric.append(signature)
    return symmetric, asymmetric


def _ed25519_ok(public: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        # Only the one right spelling of the signature counts: loose base64 bits are refused.
        if b2a_base64(raw, newline=False) != signature:
            return False
        public.verify(raw, message)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def sign_v1a(private: Ed25519PrivateKey, body: bytes, stamp: int, event_id: str) -> str:
    """Return the `v1a,…` signature of a message, for samples and tests."""
    signature = private.sign(f"{event_id}.{stamp}.".encode() + body)
    return "v1a," + base64.b64encode(signature).decode("ascii")
