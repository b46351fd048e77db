"""What is known of a key when somebody presents it, and whether it is good at this moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from wharfd.contracts.access import Identity, Refused

from .scopes import Network, admits

Outcome = Literal[
    "accepted",
    "malformed",
    "unknown",
    "wrong_secret",
    "revoked",
    "expired",
    "inactive",
    "address",
    "unsigned",
    "signature",
    "clock",
    "replay",
    "busy",
]
OUTCOMES: tuple[Outcome, ...] = (
    "accepted", "malformed", "unknown", "wrong_secret", "revoked", "expired", "inactive", "address",
    "unsigned", "signature", "clock", "replay", "busy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key as the authenticator needs it. `secret` is still sealed."""

    id: str
    short: str
    hash: bytes = field(repr=False)
    owner: str | None
    integration_id: str | None
    integration_status: str | None
    scopes: frozenset[str]
    allow_list: tuple[Network, ...]
    rate_per_minute: int | None
    signed_only: bool
    secret: bytes | None = field(repr=False)
    expires_at: datetime | None
    valid_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class KeyIdentity(Identity):
    """The caller behind a key, and what the usage log wants to know of its request."""

    method: str = ""
    integration_id: str | None = None
    client: IPv4Address | IPv6Address | None = None


@dataclass(frozen=True)
class Refusal:
    """A refusal with its class, for counting. `reason` may be told to the caller."""

    outcome: Outcome
    reason: str
    status: Literal[401, 403, 429] = 401

    def told(self) -> Refused:
        """What the core passes on to the caller."""
        return Refused(self.reason, self.status)


UNKNOWN = Refusal("unknown", "the key is not known")


def standing(record: KeyRecord, now: datetime, client: IPv4Address | IPv6Address | None) -> Refusal | None:
    """Say why a key whose secret was right is not good now; None when it is.

    Told only to callers that proved to have the key: nobody learns from it which keys there are.
    """
    if record.revoked_at is not None:
        return Refusal("revoked", f"this key was revoked at {stamp(record.revoked_at)}; make a new one")
    if record.valid_until is not None and record.valid_until <= now:
        return Refusal(
            "expired", f"this key was replaced and ended at {stamp(record.valid_until)}; use the new one"
        )
    if record.expires_at is not None and record.expires_at <= now:
        return Refusal("expired", f"this key expired at {stamp(record.expires_at)}; make a new one")
    if record.integration_id is not None and record.integration_status != "active":
        state = record.integration_status or "gone"
        return Refusal("inactive", f"the integration of this key is {state}, not active", 403)
    if not admits(record.allow_list, client):
        where = "an unknown address" if client is None else str(client)
        return Refusal("address", f"this key is not for use from {where}", 403)
    return None


def identity_of(record: KeyRecord, method: str, client: IPv4Address | IPv6Address | None) -> KeyIdentity:
    """The caller that a good key stands for."""
    return KeyIdentity(
        subject=record.id,
        kind="key",
        owner=record.owner,
        scopes=record.scopes,
        rate_per_minute=record.rate_per_minute,
        method=method,
        integration_id=record.integration_id,
        client=client,
    )


def stamp(at: datetime) -> str:
    """A time for people: whole seconds, UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
