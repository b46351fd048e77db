"""How keys look from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from wharfd import Record

from ..model.key_text import public_part
from .asking import Limit, Moment, Name, Owner, PerMinute, Seconds, Word

State = Literal["active", "expired", "replaced", "revoked"]


class NewKey(Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to make. `with_secret`: it can sign requests; `signed_only`: they must be signed."""

    name: Name
    scopes: list[str]
    owner: Owner | UnsetType | None = UNSET
    expires_at: Moment | None = None
    allow_list: list[str] = []
    rate_per_minute: PerMinute | None = None
    integration_id: Word | None = None
    signed_only: bool = False
    with_secret: bool = False


class Key(Struct, kw_only=True):
    """A key as it can be shown at any time. `public` is its beginning, which also stands in logs."""

    id: str
    public: str
    name: str
    owner: str | None
    integration_id: str | None
    scopes: list[str]
    allow_list: list[str]
    rate_per_minute: int | None
    signed_only: bool
    state: State
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    rotated_from: str | None
    valid_until: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    revoke_reason: str | None
    last_used_at: datetime | None
    last_used_from: str | None
    use_count: int


class MadeKey(Struct, kw_only=True):
    """A new key. `key` and `secret` are shown here and never again."""

    key: str
    secret: str | None
    details: Key


class RotateKey(Struct, kw_only=True, forbid_unknown_fields=True):
    """How to rotate: how long the old key goes on, and when the new one ends (as the old one if left out)."""

    overlap_seconds: Seconds | None = None
    expires_at: Moment | None = None


class RevokeKey(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, and whether the keys that this key made go with it."""

    reason: Word = ""
    descendants: bool = False


class Revoked(Struct, kw_only=True):
    """The keys that no longer work."""

    revoked: list[str]


class KeyQuery(Struct, kw_only=True):
    """Which keys to list."""

    owner: Word | None = None
    integration_id: Word | None = None
    ended: bool = False
    limit: Limit = 50
    cursor: str | None = None


def shown(row: Record, now: datetime) -> Key:
    """A row as it can be shown at any time."""
    return Key(
        id=row["id"],
        public=public_part(row["mode"], row["short"]),
        name=row["name"],
        owner=row["owner"],
        integration_id=row["integration_id"],
        scopes=row["scopes"],
        allow_list=[str(network) for network in row["allow_list"]],
        rate_per_minute=row["rate_per_minute"],
        signed_only=row["signed_only"],
        state=state_of(row, now),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        rotated_from=row["rotated_from"],
        valid_until=row["valid_until"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
        revoke_reason=row["revoke_reason"],
        last_used_at=row["last_used_at"],
        last_used_from=None if row["last_used_from"] is None else str(row["last_used_from"]),
        use_count=row["use_count"],
    )


def state_of(row: Record, now: datetime) -> State:
    """Whether a key works, and why not. A replaced one works until its `valid_until`."""
    if row["revoked_at"] is not None:
        return "revoked"
    ends = [at for at in (row["expires_at"], row["valid_until"]) if at is not None]
    if ends and min(ends) <= now:
        return "expired"
    return "active" if row["replaced_at"] is None else "replaced"
