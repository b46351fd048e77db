"""`webhooks` and `webhook_deliveries` of the system before: endpoints with their secrets, and what was sent.

Nothing that was still waiting to be sent is sent by an import: it is held, and a person lets it go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import (
    Importer,
    OldRow,
    PluginContext,
    Transaction,
    Unfit,
    UrlRefused,
    columns_of,
    parse_url,
    sql,
    stable_id,
    stored_of,
)

from .config import Settings
from .model.keys import read_key
from .store.endpoints import SEALED, SECRETS

SYSTEM = "webhooks, bulk orders and integrations"
_STATE = {"delivered": "done", "failed": "buried", "pending": "held", "retrying": "held"}
_NOT_SENT = "the old system had not delivered it; send it with: wharfd deliveries resend"
_LONGEST_ANSWER = 16_384

ADD_ONE = sql(
    "import_endpoint",
    """INSERT INTO webhooks.endpoints (id, owner, url, events, legacy, max_in_flight, status, status_reason,
  failure_count, last_triggered_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING RETURNING id""",
)
ADD_SECRET = sql(
    "import_secret",
    """INSERT INTO webhooks.secrets (id, endpoint_id, kind, sealed, public_key, hint, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)""",
)
READ = sql(
    "read_imported_endpoints",
    """SELECT e.id, e.owner, e.url, e.events, e.status, e.status_reason, e.failure_count, e.last_triggered_at,
  e.created_at, e.updated_at, s.id AS secret_id, s.sealed
FROM unnest($1::text[]) AS g (id) JOIN webhooks.endpoints e USING (id)
LEFT JOIN LATERAL (SELECT id, sealed FROM webhooks.secrets s WHERE s.endpoint_id = e.id
  ORDER BY created_at, id LIMIT 1) s ON true""",
)
ADD_DELIVERIES = sql(
    "import_deliveries",
    """WITH given AS MATERIALIZED (
  SELECT g.*, e.owner FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[],
    $6::text[], $7::integer[], $8::bytea[], $9::text[], $10::timestamptz[], $11::smallint[], $12::text[],
    $13::text[])
  AS g (id, created_at, endpoint_id, message_id, type, state, attempts, body, last_error, last_attempt_at,
    status, response_body, outcome)
  JOIN webhooks.endpoints e ON e.id = g.endpoint_id
  WHERE NOT EXISTS (SELECT FROM webhooks.deliveries d WHERE d.id = g.id AND d.created_at = g.created_at)
), messages AS (
  INSERT INTO webhooks.messages (id, created_at, type, owner, source, body)
  SELECT message_id, created_at, type, owner, 'event', body FROM given
), attempts AS (
  INSERT INTO webhooks.attempts (delivery_id, delivery_at, number, claim, trigger, started_at, finished_at,
    outcome, status, error, response_body)
  SELECT id, created_at, attempts, 0, 'event', last_attempt_at, last_attempt_at, outcome, status, last_error,
    response_body
  FROM given WHERE attempts > 0
), added AS (
  INSERT INTO webhooks.deliveries (id, created_at, endpoint_id, message_id, message_at, type, order_key,
    state, attempts, last_error, due_at, finished_at)
  SELECT id, created_at, endpoint_id, message_id, created_at, type, endpoint_id, state, attempts, last_error,
    created_at, coalesce(last_attempt_at, created_at)
  FROM given RETURNING id
) SELECT count(*) FROM added""",
)
READ_DELIVERIES = sql(
    "read_imported_deliveries",
    """SELECT d.id, d.created_at, d.endpoint_id, d.message_id, d.type, d.state, d.attempts, m.body,
  d.last_error, a.finished_at AS last_attempt_at, a.status, a.response_body, a.outcome
FROM unnest($1::text[], $2::timestamptz[]) AS g (id, created_at)
JOIN webhooks.deliveries d USING (id, created_at)
JOIN webhooks.messages m ON m.id = d.message_id AND m.created_at = d.message_at
LEFT JOIN webhooks.attempts a
  ON a.delivery_id = d.id AND a.delivery_at = d.created_at AND a.number = d.attempts""",
)


class OldEndpoint(msgspec.Struct, frozen=True):
    """An endpoint as it will stand in the table, with its secret in the open."""

    id: str
    owner: str | None
    url: str
    events: tuple[str, ...]
    max_in_flight: int
    status: str
    status_reason: str
    failure_count: int
    last_triggered_at: datetime | None
    created_at: datetime
    updated_at: datetime
    secret: str


class OldDelivery(msgspec.Struct, frozen=True):
    """A delivery with its message and the last of its attempts; the old system kept no others."""

    id: str
    created_at: datetime
    endpoint_id: str
    message_id: str
    type: str
    state: str
    attempts: int
    body: bytes
    last_error: str | None
    last_attempt_at: datetime | None
    status: int | None
    response_body: str | None
    outcome: str | None


def convert(row: OldRow, settings: Settings) -> OldEndpoint:
    """Return the endpoint; it goes on getting the headers its receiver knows beside the standard ones."""
    url, secret, created = row.word("url"), row.word("secret"), row.moment("created_at")
    try:
        parse_url(url)
        read_key(secret)
    except UrlRefused as error:
        raise Unfit(f"url: {error}") from None
    except ValueError as error:
        raise Unfit(f"secret {error}") from None
    events = row.texts("events")
    if not events:
        raise Unfit("events is empty")
    active = row.flag("active", default=True)
    return OldEndpoint(
        id=endpoint_id(row.word("id")),
        owner=row.text("user_id"),
        url=url,
        events=tuple(events),
        max_in_flight=settings.max_in_flight,
        status="active" if active else "disabled",
        status_reason="" if active else "it was switched off in the old system",
        failure_count=row.integer("failure_count") or 0,
        last_triggered_at=row.time("last_triggered_at"),
        created_at=created,
        updated_at=row.time("updated_at") or created,
        secret=secret,
    )


def endpoint_id(old: str) -> str:
    """Return the id an endpoint keeps, or gets when its old one is not of the form wh_…"""
    return old if old.startswith("wh_") else f"wh_{old}"


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldEndpoint]) -> int:
    """Add the endpoints that are not there, each with its secret, sealed."""
    rows = [
        (one.id, one.owner, one.url, list(one.events), "x-webhook", one.max_in_flight, one.status,
         one.status_reason, one.failure_count, one.last_triggered_at, one.created_at, one.updated_at)
        for one in records
    ]  # fmt: skip
    added = 0
    for row, one in zip(rows, records, strict=True):
        if await tx.fetchval(ADD_ONE, *row) is None:
            continue
        key = read_key(one.secret)
        secret_id = stable_id("sec", one.created_at, SYSTEM, one.id)
        sealed = await ctx.secrets.seal(SECRETS, SEALED, secret_id, one.secret.encode())
        await tx.execute(
            ADD_SECRET, secret_id, one.id, key.kind, sealed, key.public, key.hint, one.created_at
        )
        added += 1
    return added


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldEndpoint]) -> list[Any]:
    """Return the endpoints as they stand in the table, their secrets opened."""
    found = {}
    for row in await tx.fetch(READ, [one.id for one in records]):
        secret = ""
        if row["sealed"] is not None:
            opened = await ctx.secrets.open(SECRETS, SEALED, row["secret_id"], row["sealed"])
            secret = opened.decode()
        found[row["id"]] = row, secret
    return [_stored(one, *found[one.id]) if one.id in found else None for one in records]


def _stored(one: OldEndpoint, row: Any, secret: str) -> OldEndpoint:
    facts = {name: row[name] for name in row.keys() if name not in ("secret_id", "sealed", "events")}  # noqa: SIM118
    return OldEndpoint(**facts, events=tuple(row["events"]), max_in_flight=one.max_in_flight, secret=secret)


def convert_delivery(row: OldRow, settings: Settings) -> OldDelivery:
    """Return the delivery; failed ones can be sent again, waiting ones are held."""
    old_id, created = row.word("id"), row.moment("created_at")
    status = row.word("status", tuple(_STATE))
    attempts = row.integer("attempts") or 0
    answer = row.text("response_body")
    if answer is not None and len(answer) > _LONGEST_ANSWER:
        row.note(f"its response body was cut to {_LONGEST_ANSWER} characters")
        answer = answer[:_LONGEST_ANSWER]
    state = _STATE[status]
    if state == "held":
        row.note("it was still to be sent; it is held here and sent only when somebody resends it")
    tried = attempts > 0
    error = row.text("error") or (_NOT_SENT if state == "held" else None)
    return OldDelivery(
        id=stable_id("dlv", created, SYSTEM, old_id),
        created_at=created,
        endpoint_id=endpoint_id(row.word("webhook_id")),
        message_id=stable_id("msg", created, SYSTEM, old_id),
        type=row.word("event"),
        state=state,
        attempts=attempts,
        body=msgspec.json.encode(row.json("payload")),
        last_error=error,
        last_attempt_at=(row.time("last_attempt_at") or created) if tried else None,
        status=row.integer("response_code") if tried else None,
        response_body=answer if tried else None,
        outcome=("delivered" if status == "delivered" else "failed") if tried else None,
    )


async def write_deliveries(
    ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldDelivery]
) -> int:
    """Add the deliveries that are not there, each with its message and last attempt."""
    return int(await tx.fetchval(ADD_DELIVERIES, *columns_of(records)))


async def read_deliveries(
    ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldDelivery]
) -> list[Any]:
    """Return the deliveries as they stand in the table."""
    rows = await tx.fetch(READ_DELIVERIES, [one.id for one in records], [one.created_at for one in records])
    return stored_of(records, rows, "id")


IMPORTERS = (
    Importer(
        name="endpoints",
        system=SYSTEM,
        table="webhooks",
        key=("id",),
        needs=("id", "user_id", "url", "events", "secret", "created_at"),
        convert=convert,
        write=write,
        read=read,
    ),
    Importer(
        name="deliveries",
        system=SYSTEM,
        table="webhook_deliveries",
        key=("id",),
        needs=("id", "webhook_id", "event", "payload", "status", "created_at"),
        convert=convert_delivery,
        write=write_deliveries,
        read=read_deliveries,
        months=tuple((f"webhooks.{name}", "created_at") for name in ("messages", "deliveries", "attempts")),
        after=("endpoints",),
    ),
)
