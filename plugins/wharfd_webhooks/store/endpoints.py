"""Endpoints and their secrets, as owners and operators handle them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Queries, Record, Transaction, Vault, new_id, sql

from ..model.keys import SigningKey

SECRETS, SEALED = "webhooks.secrets", "sealed"
ENDPOINTS, HEADERS, CLIENT_KEY = "webhooks.endpoints", "headers", "client_key"

_SHOWN = """e.id, e.owner, e.url, e.description, e.events, e.filter, e.headers, e.legacy, e.transform,
           e.order_by, e.order_failed, e.at_most_once, e.max_in_flight, e.rate_per_second, e.timeout_seconds,
           e.status, e.status_reason, e.status_at, e.failure_count, e.first_failed_at, e.breaker_opened,
           e.breaker_until, e.warned, e.last_triggered_at, e.last_success_at, e.last_status, e.last_error,
           e.created_at, e.updated_at, e.version, e.ca, e.client_certificate, e.client_key, e.tls_ends_at,
           (e.breaker_until > now()) AS resting"""

ADD = sql(
    "add_endpoint",
    """
    INSERT INTO webhooks.endpoints
           (id, owner, url, description, events, filter, headers, legacy, transform, order_by, order_failed,
            at_most_once, max_in_flight, rate_per_second, timeout_seconds, ca, client_certificate, client_key,
            tls_ends_at, status)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    """,
)
COUNT = sql(
    "count_endpoints",
    """
    SELECT count(*) FROM webhooks.endpoints e
     WHERE e.owner IS NOT DISTINCT FROM $1 AND e.status <> 'deleted'
    """,
)
LOCK_OWNER = sql("lock_owner", "SELECT pg_advisory_xact_lock(hashtextextended('webhooks.owner ' || $1, 0))")

GET = sql(
    "get_endpoint",
    f"""
    SELECT {_SHOWN} FROM webhooks.endpoints e
     WHERE e.id = $1 AND ($2::text IS NULL OR e.owner = $2) AND e.status <> 'deleted'
    """,
)
LOCK = sql("lock_endpoint", f"{GET.text} FOR NO KEY UPDATE")

LIST_OWN = sql(
    "list_endpoints_of_owner",
    f"""
    SELECT {_SHOWN} FROM webhooks.endpoints e
     WHERE e.owner = $1 AND e.status <> 'deleted' AND e.id < coalesce($2, 'wi') ORDER BY e.id DESC LIMIT $3
    """,
)
LIST_ALL = sql(
    "list_endpoints",
    f"""
    SELECT {_SHOWN} FROM webhooks.endpoints e
     WHERE e.status <> 'deleted' AND e.id < coalesce($1, 'wi') ORDER BY e.id DESC LIMIT $2
    """,
)

UPDATE = sql(
    "update_endpoint",
    """
    UPDATE webhooks.endpoints
       SET url = $2, description = $3, events = $4, filter = $5, headers = $6, legacy = $7, transform = $8,
           order_by = $9, order_failed = $10, at_most_once = $11, max_in_flight = $12, rate_per_second = $13,
           timeout_seconds = $14, ca = $15, client_certificate = $16, client_key = $17, tls_ends_at = $18,
           version = version + 1, updated_at = now()
     WHERE id = $1
    """,
)

# Whoever is switched on again starts well: what it failed at before says nothing about now.
SET_STATUS = sql(
    "set_endpoint_status",
    """
    UPDATE webhooks.endpoints
       SET status = $2, status_reason = $3, status_at = now(), version = version + 1, updated_at = now(),
           failure_count = CASE WHEN $2 = 'active' THEN 0 ELSE failure_count END,
           first_failed_at = CASE WHEN $2 = 'active' THEN NULL ELSE first_failed_at END,
           breaker_opened = CASE WHEN $2 = 'active' THEN 0 ELSE breaker_opened END,
           breaker_until = CASE WHEN $2 = 'active' THEN NULL ELSE breaker_until END,
           warned = CASE WHEN $2 = 'active' THEN 0 ELSE warned END
     WHERE id = $1
    """,
)

ADD_SECRET = sql(
    "add_secret",
    """
    INSERT INTO webhooks.secrets (id, endpoint_id, kind, sealed, public_key, hint)
    VALUES ($1, $2, $3, $4, $5, $6)
    """,
)
EXPIRE_SECRETS = sql(
    "expire_secrets",
    """
    UPDATE webhooks.secrets SET expires_at = now() + make_interval(secs => $3)
     WHERE endpoint_id = $1 AND kind = ANY ($2::text[])
       AND (expires_at IS NULL OR expires_at > now() + make_interval(secs => $3))
    """,
)
SECRETS_OF = sql(
    "secrets_of_endpoint",
    """
    SELECT id, kind, public_key, hint, created_at, expires_at FROM webhooks.secrets
     WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id DESC
    """,
)
FORGET_SECRETS = sql("forget_secrets", "DELETE FROM webhooks.secrets WHERE endpoint_id = $1")
BUMP = sql(
    "bump_endpoint",
    "UPDATE webhooks.endpoints SET version = version + 1, updated_at = now() WHERE id = $1",
)


@dataclass(frozen=True)
class NewEndpoint:
    """An endpoint as it is added; everything was checked before."""

    id: str
    owner: str | None
    url: str
    events: Sequence[str]
    max_in_flight: int
    description: str = ""
    filter: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    legacy: str = "none"
    transform: str | None = None
    order_by: str | None = None
    order_failed: str = "block"
    at_most_once: bool = False
    rate_per_second: float | None = None
    timeout_seconds: float | None = None
    ca: str | None = None
    client_certificate: str | None = None
    client_key: str | None = field(default=None, repr=False)
    tls_ends_at: datetime | None = None
    status: str = "active"

    def values(self, vault: Vault) -> list[Any]:
        """What can be changed later, in the order of the statements."""
        return [
            self.url,
            self.description,
            list(self.events),
            self.filter,
            seal_headers(vault, self.id, self.headers),
            self.legacy,
            self.transform,
            self.order_by,
            self.order_failed,
            self.at_most_once,
            self.max_in_flight,
            self.rate_per_second,
            self.timeout_seconds,
            self.ca,
            self.client_certificate,
            seal_client_key(vault, self.id, self.client_key),
            self.tls_ends_at,
        ]


def seal_headers(vault: Vault, endpoint_id: str, headers: Mapping[str, str]) -> bytes | None:
    """Return custom headers as they are kept."""
    if not headers:
        return None
    return vault.seal_now(ENDPOINTS, HEADERS, endpoint_id, msgspec.json.encode(dict(headers)))


def open_headers(vault: Vault, row: Record) -> dict[str, str]:
    """Return the custom headers of a row."""
    if row["headers"] is None:
        return {}
    return msgspec.json.decode(
        vault.open_now(ENDPOINTS, HEADERS, row["id"], row["headers"]), type=dict[str, str]
    )


def seal_client_key(vault: Vault, endpoint_id: str, key: str | None) -> bytes | None:
    """Return the key of a client certificate as it is kept."""
    return None if key is None else vault.seal_now(ENDPOINTS, CLIENT_KEY, endpoint_id, key.encode())


def open_client_key(vault: Vault, row: Record) -> str | None:
    """Return the key of a row's client certificate."""
    if row["client_key"] is None:
        return None
    return vault.open_now(ENDPOINTS, CLIENT_KEY, row["id"], row["client_key"]).decode()


async def add(tx: Transaction, vault: Vault, endpoint: NewEndpoint) -> None:
    """Add an endpoint."""
    await tx.execute(ADD, endpoint.id, endpoint.owner, *endpoint.values(vault), endpoint.status)


async def count_for_owner(tx: Transaction, owner: str | None) -> int:
    """Return how many endpoints an owner has, and let nobody add one for it until the commit."""
    await tx.execute(LOCK_OWNER, owner or "")
    return int(await tx.fetchval(COUNT, owner))


async def get(db: Queries, endpoint_id: str, owner: str | None) -> Record | None:
    """Return an endpoint the owner may see; None for admin sees all."""
    return await db.fetchrow(GET, endpoint_id, owner)


async def lock(tx: Transaction, endpoint_id: str, owner: str | None) -> Record | None:
    """Do what `get` does and keep others from changing it until the commit."""
    return await tx.fetchrow(LOCK, endpoint_id, owner)


async def page(db: Queries, owner: str | None, before: str | None, limit: int) -> list[Record]:
    """Return endpoints, the newest first, one more than `limit` when there are more."""
    if owner is None:
        return await db.fetch(LIST_ALL, before, limit + 1)
    return await db.fetch(LIST_OWN, owner, before, limit + 1)


async def update(tx: Transaction, vault: Vault, endpoint: NewEndpoint) -> None:
    """Write everything about an endpoint that can be changed."""
    await tx.execute(UPDATE, endpoint.id, *endpoint.values(vault))


async def set_status(tx: Transaction, endpoint_id: str, status: str, reason: str) -> None:
    """Switch an endpoint on, off or away, with a reason."""
    await tx.execute(SET_STATUS, endpoint_id, status, reason)


async def add_secret(tx: Transaction, vault: Vault, endpoint_id: str, key: SigningKey) -> str:
    """Keep a signing key, sealed, and return its id."""
    secret_id = new_id("sec")
    sealed = vault.seal_now(SECRETS, SEALED, secret_id, key.text.encode())
    await tx.execute(ADD_SECRET, secret_id, endpoint_id, key.kind, sealed, key.public, key.hint)
    return secret_id


async def expire_secrets(tx: Transaction, endpoint_id: str, kinds: Sequence[str], seconds: float) -> None:
    """Let the keys of these kinds sign for so long and no longer."""
    await tx.execute(EXPIRE_SECRETS, endpoint_id, list(kinds), seconds)


async def secrets_of(db: Queries, endpoint_id: str) -> list[Record]:
    """Return what may be shown of the keys that sign, the newest first."""
    return await db.fetch(SECRETS_OF, endpoint_id)


async def forget_secrets(tx: Transaction, endpoint_id: str) -> None:
    """Delete the keys of an endpoint that is deleted."""
    await tx.execute(FORGET_SECRETS, endpoint_id)


async def bump(tx: Transaction, endpoint_id: str) -> None:
    """Make all senders read the endpoint anew."""
    await tx.execute(BUMP, endpoint_id)
