"""What goes in and out of the API: the old shapes of `/api/webhooks`, and what was added to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wharfd import Record

from ..model.verdicts import status_of

Text = Annotated[str, Meta(max_length=500)]
HIDDEN = "…"  # stands for the value of a custom header, which is never shown

Legacy = Literal["none", "x-webhook"]
OrderFailed = Literal["block", "skip"]


class _Camel(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class EndpointIn(_Camel, forbid_unknown_fields=True):
    """A new endpoint. `secret` is made unless given; `owner` is for admins, who may set up for others."""

    url: str
    events: list[str]
    secret: str | None = None
    signing: Literal["v1", "v1a"] = "v1"
    active: bool = True
    description: Text = ""
    filter: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    legacy: Legacy = "none"
    transform: Annotated[str, Meta(max_length=100)] | None = None
    order_by: Annotated[str, Meta(max_length=256)] | None = None
    order_failed: OrderFailed = "block"
    at_most_once: bool = False
    max_in_flight: int | None = None
    rate_per_second: float | None = None
    timeout_seconds: float | None = None
    ca: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    owner: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class EndpointPatch(_Camel):
    """What is to be changed; what is left out stays."""

    url: str | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    filter: dict[str, Any] | UnsetType | None = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    legacy: Legacy | UnsetType = UNSET
    transform: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    order_by: Annotated[str, Meta(max_length=256)] | UnsetType | None = UNSET
    order_failed: OrderFailed | UnsetType = UNSET
    at_most_once: bool | UnsetType = UNSET
    max_in_flight: int | UnsetType = UNSET
    rate_per_second: float | UnsetType | None = UNSET
    timeout_seconds: float | UnsetType | None = UNSET
    ca: str | UnsetType | None = UNSET
    client_certificate: str | UnsetType | None = UNSET
    client_key: str | UnsetType | None = UNSET


class EndpointOut(_Camel):
    """An endpoint. `secret` is shown once, when it was made; `breaker` is closed, open or half_open."""

    id: str
    user_id: str | None
    url: str
    events: list[str]
    secret: str | None
    active: bool
    created_at: datetime
    updated_at: datetime
    last_triggered_at: datetime | None
    failure_count: int
    status: str
    status_reason: str
    status_at: datetime
    breaker: str
    breaker_until: datetime | None
    first_failed_at: datetime | None
    last_success_at: datetime | None
    last_status: int | None
    last_error: str | None
    description: str
    filter: dict[str, Any] | None
    headers: dict[str, str]
    legacy: str
    transform: str | None
    order_by: str | None
    order_failed: str
    at_most_once: bool
    max_in_flight: int
    rate_per_second: float | None
    timeout_seconds: float | None
    ca: str | None
    client_certificate: str | None
    tls_ends_at: datetime | None
    public_key: str | UnsetType | None = UNSET


class DeliveryOut(_Camel):
    """A delivery with the end of its last attempt."""

    id: str
    webhook_id: str
    message_id: str
    event: str
    status: str
    attempts: int
    trigger: str
    created_at: datetime
    last_attempt_at: datetime | None
    next_retry_at: datetime | None
    finished_at: datetime | None
    response_code: int | None
    response_body: str | None
    error: str | None
    payload: Any | UnsetType = UNSET


class AttemptOut(_Camel):
    """One send. `unknown` means that wharfd stopped before its end was recorded."""

    number: int
    outcome: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None
    response_code: int | None
    response_body: str | None
    error_kind: str | None
    error: str | None
    request_sent: str | None


def endpoint_out(
    row: Record, headers: Iterable[str], *, secret: str | None = None, public_key: Any = UNSET
) -> EndpointOut:
    """Return an endpoint as callers see it, with the names of its custom headers."""
    breaker = "closed" if row["breaker_until"] is None else "open" if row["resting"] else "half_open"
    return EndpointOut(
        id=row["id"],
        user_id=row["owner"],
        url=row["url"],
        events=row["events"],
        secret=secret,
        active=row["status"] in ("active", "paused"),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_triggered_at=row["last_triggered_at"],
        failure_count=row["failure_count"],
        status=row["status"],
        status_reason=row["status_reason"],
        status_at=row["status_at"],
        breaker=breaker,
        breaker_until=row["breaker_until"],
        first_failed_at=row["first_failed_at"],
        last_success_at=row["last_success_at"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        description=row["description"],
        filter=row["filter"],
        headers=dict.fromkeys(headers, HIDDEN),
        legacy=row["legacy"],
        transform=row["transform"],
        order_by=row["order_by"],
        order_failed=row["order_failed"],
        at_most_once=row["at_most_once"],
        max_in_flight=row["max_in_flight"],
        rate_per_second=row["rate_per_second"],
        timeout_seconds=row["timeout_seconds"],
        ca=row["ca"],
        client_certificate=row["client_certificate"],
        tls_ends_at=row["tls_ends_at"],
        public_key=public_key,
    )


def delivery_out(row: Record, *, payload: Any = UNSET) -> DeliveryOut:
    """Return a delivery as callers see it."""
    waits = row["state"] == "ready"
    return DeliveryOut(
        id=row["id"],
        webhook_id=row["endpoint_id"],
        message_id=row["message_id"],
        event=row["type"],
        status=status_of(row["state"], row["attempts"]),
        attempts=row["number"] or 0,
        trigger=row["trigger"],
        created_at=row["created_at"],
        last_attempt_at=row["started_at"],
        next_retry_at=row["due_at"] if waits and row["number"] else None,
        finished_at=row["finished_at"],
        response_code=row["status"],
        response_body=row["response_body"],
        error=row["error"] or (row["last_error"] if row["state"] != "done" else None),
        payload=payload,
    )


def attempt_out(row: Record) -> AttemptOut:
    """Return an attempt as callers see it."""
    return AttemptOut(
        number=row["number"],
        outcome=row["outcome"],
        trigger=row["trigger"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        duration_ms=row["duration_ms"],
        response_code=row["status"],
        response_body=row["response_body"],
        error_kind=row["error_kind"],
        error=row["error"],
        request_sent=row["request_sent"],
    )
