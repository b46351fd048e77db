"""What every signature scheme takes and gives: `Headers`, `Verdict`, and the `Verifier` protocol.

A verifier is made once per source with everything it needs (and refuses to be made without it), then asked
once per delivery. It does no I/O and reads no clock. How a scheme computes its signature lives in that
scheme's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

# Longer than any signature header seen (PayPal's is 344 characters), short enough to cost nothing.
MAX_HEADER_BYTES = 4096
# More signatures in one header than any provider sends during a key rotation.
MAX_SIGNATURES = 16


class Reason(StrEnum):
    """Why a delivery was accepted or refused; stable codes for counters, logs and stored rows."""

    OK = "ok"
    UNCHECKED = "unchecked"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_REPEATED = "signature_repeated"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    HEADER_MISSING = "header_missing"
    HEADER_TOO_LONG = "header_too_long"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    NO_ACTIVE_KEY = "no_active_key"
    UNREADABLE = "unreadable"
    ALGORITHM_REFUSED = "algorithm_refused"
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_HOST_REFUSED = "certificate_host_refused"
    CERTIFICATE_REFUSED = "certificate_refused"


# Our trouble, not the sender's: 503 makes the provider try again once an operator has put it right.
_OURS = frozenset({Reason.NO_ACTIVE_KEY, Reason.CERTIFICATE_MISSING})


class Answer(msgspec.Struct, frozen=True):
    """What to send back to the provider."""

    status: int
    body: bytes
    content_type: str = "application/json"


class Item(msgspec.Struct, frozen=True):
    """One notification of a delivery that carries several; `data` is its JSON as parsed."""

    index: int
    ok: bool
    reason: Reason
    event_id: str | None
    data: dict[str, Any]


class Verdict(msgspec.Struct, frozen=True):
    """What a verifier found.

    `provider_event_id` is what the provider calls this delivery, where the scheme has such an id; whether it
    is covered by the signature depends on the scheme. `old_key` says that a newer key was active too, so the
    sender has not followed the rotation yet. `items` is empty when the body itself is the one event.
    `reply` is the refusal to send, or a success answer the provider insists on; None leaves the success
    answer to the source.
    """

    ok: bool
    reason: Reason
    provider_event_id: str | None = None
    signed_at: datetime | None = None
    key_id: str | None = None
    old_key: bool = False
    items: tuple[Item, ...] = ()
    reply: Answer | None = None


class Verifier(Protocol):
    """Checks the deliveries of one source."""

    @property
    def scheme(self) -> str:
        """The name of the scheme, as configured."""
        ...

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Say whether `body`, exactly as received, was signed by the holder of a key active at `now`.

        `certificate` is PEM that somebody fetched from `certificate_url(headers)`, for schemes that need one.
        Never raises on anything a sender can send.
        """
        ...


class Signer(Protocol):
    """Signs as the provider would; for samples, tests and the load generator."""

    def sign(self, body: bytes, now: datetime, event_id: str) -> tuple[bytes, dict[str, str]]:
        """Return the body to send (a scheme may sign inside it) and the headers that prove it."""
        ...


class Headers:
    """Request headers: several values per name, names compared without case, order kept."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] | Mapping[str, str]) -> None:
        if isinstance(pairs, list):
            self._pairs = pairs
        elif isinstance(pairs, Mapping):
            self._pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
        else:
            self._pairs = list(pairs)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._pairs)

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of `name` (given in lower case), without surrounding blanks."""
        size = len(name)
        return [value.strip(b" \t") for key, value in self._pairs if len(key) == size and key.lower() == name]

    def one(self, name: bytes) -> bytes | Reason:
        """Return the only value of `name` (in lower case), or why there is none to be used."""
        found = self.all(name)
        if not found:
            return Reason.HEADER_MISSING
        if len(found) > 1:
            return Reason.SIGNATURE_REPEATED
        if len(found[0]) > MAX_HEADER_BYTES:
            return Reason.HEADER_TOO_LONG
        return found[0] or Reason.HEADER_MISSING

    def text(self, name: bytes) -> str | None:
        """Return the only value of `name` (in lower case) as text; None when absent, repeated or odd."""
        value = self.one(name)
        if isinstance(value, Reason):
            return None
        try:
            return value.decode("ascii")
        except UnicodeDecodeError:
            return None


def _refusal(reason: Reason) -> Verdict:
    status = 503 if reason in _OURS else 401
    # The code is fixed text of ours: it tells an honest sender what to repair and a forger nothing new.
    body = b'{"success":false,"message":"' + reason.value.encode() + b'"}'
    return Verdict(ok=False, reason=reason, reply=Answer(status, body))


_REFUSALS = {reason: _refusal(reason) for reason in Reason}


def refuse(reason: Reason) -> Verdict:
    """Return the refusal for `reason`: 401, or 503 where the fault is on this side."""
    return _REFUSALS[reason]
