"""How integrations look from outside: the shapes that older callers know, in camelCase."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wharfd import Record

from ..model.key_text import public_part
from .asking import Limit, Moment, Name, Owner, PerMinute, Seconds

Type = Literal[
    "payment_gateway", "rta", "nav_provider", "email_service", "sms_service", "analytics", "custom"
]
Status = Literal["active", "inactive", "pending", "suspended"]
Url = Annotated[str, Meta(min_length=8, max_length=2000)]


class NewIntegration(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An integration to make."""

    name: Name
    type: Type
    config: dict[str, Any] | None = None
    webhook_url: Url | None = None
    owner: Owner | UnsetType | None = UNSET
    scopes: list[str] | None = None
    allow_list: list[str] = []
    rate_per_minute: PerMinute | None = None
    expires_at: Moment | None = None
    signed_only: bool = False


class OldNewIntegration(NewIntegration, forbid_unknown_fields=False):
    """An integration to make, from callers of the old system: what is not known here is passed over."""


class Changes(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to change; a field that is left out stays."""

    name: Name | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    config: dict[str, Any] | UnsetType | None = UNSET
    webhook_url: Url | UnsetType | None = UNSET


class OldChanges(Changes, forbid_unknown_fields=False):
    """What to change, from callers of the old system, who send the whole integration back."""


class Rotation(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How long the old pair goes on; the setting `rotation_overlap` if left out."""

    overlap_seconds: Seconds | None = None
    scopes: list[str] | None = None


class Regeneration(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """New scopes for the new pair; those of the old one if left out."""

    scopes: list[str] | None = None


class IntegrationQuery(Struct, kw_only=True):
    """Which integrations to list."""

    type: Type | None = None
    status: Status | None = None
    limit: Limit = 50
    cursor: str | None = None


class Integration(Struct, kw_only=True, rename="camel"):
    """An integration. `apiKey` is whole, and `apiSecret` and `webhookSecret` are there, only when new.

    `keyCount` is how many of its keys are in use; where it is listed or read.
    """

    id: str
    user_id: str | None
    name: str
    type: str
    status: str
    api_key: str | None
    api_secret: str | UnsetType = UNSET
    key_id: str | None
    key_count: int | UnsetType = UNSET
    scopes: list[str]
    config: dict[str, Any]
    webhook_url: str | None
    webhook_secret: str | UnsetType = UNSET
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    usage_count: int


class Pair(Struct, kw_only=True, rename="camel"):
    """A new pair, shown once. `oldValidUntil` says when the one before stops working."""

    api_key: str
    api_secret: str
    key_id: str
    webhook_secret: str | UnsetType = UNSET
    old_valid_until: datetime | None = None


class ConnectionResult(Struct, kw_only=True, rename="camel"):
    """What a connection test found; nothing of the answer but its status is passed on."""

    success: bool
    message: str
    status: int | None
    latency_ms: float
    method: str
    host: str
    error: str | None = None


def shown(
    row: Record,
    key: Record | None,
    *,
    api_key: str | None = None,
    api_secret: str | UnsetType = UNSET,
    webhook_secret: str | UnsetType = UNSET,
    key_count: int | UnsetType = UNSET,
) -> Integration:
    """A row as it is shown, with the beginning of its key; new secrets are given by the caller."""
    public = None if key is None else f"{public_part(key['mode'], key['short'])}_…"
    return Integration(
        id=row["id"],
        user_id=row["owner"],
        name=row["name"],
        type=row["type"],
        status=row["status"],
        api_key=api_key or public,
        api_secret=api_secret,
        key_id=None if key is None else key["id"],
        key_count=key_count,
        scopes=[] if key is None else key["scopes"],
        config=row["config"],
        webhook_url=row["webhook_url"],
        webhook_secret=webhook_secret,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_used_at=row["last_used_at"],
        usage_count=row["usage_count"],
    )
