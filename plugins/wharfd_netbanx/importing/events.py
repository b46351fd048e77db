"""`webhook_events`: what the dashboard kept of each delivery. The bytes as they came were never kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, columns_of, sql, stable_id, stored_of

from ..acceptance.admission import IDENTITY_BYTES
from ..config import Settings
from ..model.envelope import Unreadable, parse, short_text
from ..model.identity import identify
from .origin import SYSTEM, source_of

NOT_WORKED = "the old system had not worked it; replay it if it should be worked here"

ADD = sql(
    "import_events",
    """WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::bytea[], $6::bytea[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::text[])
  AS g (id, received_at, source, owner, identity, content, name, resource_id, merchant_ref, receipt, body,
    state, last_error)
), seen AS (
  INSERT INTO netbanx.dedup (identity, event_id, received_at, content)
  SELECT identity, id, received_at, content FROM given ORDER BY identity
  ON CONFLICT (identity) DO NOTHING
), stored AS (
  INSERT INTO netbanx.events (id, received_at, source, owner, trace_id, identity, content, name, resource_id,
    merchant_ref, receipt, body, state, last_error, attempts, due_at, finished_at)
  SELECT id, received_at, source, owner, md5(id), identity, content, name, resource_id, merchant_ref,
    receipt::json, body, state, last_error, 1, received_at, received_at FROM given
  ON CONFLICT (id, received_at) DO NOTHING RETURNING id
)
SELECT count(*) FROM stored""",
)
READ = sql(
    "read_imported_events",
    """SELECT e.id, e.received_at, e.source, e.owner, e.identity, e.content, e.name, e.resource_id,
  e.merchant_ref, e.receipt::text AS receipt, e.body, e.state, e.last_error
FROM unnest($1::text[], $2::timestamptz[]) AS g (id, received_at)
JOIN netbanx.events e USING (id, received_at)""",
)


class OldEvent(msgspec.Struct, frozen=True):
    """An event as it will stand in the table."""

    id: str
    received_at: datetime
    source: str
    owner: str | None
    identity: bytes
    content: bytes
    name: str
    resource_id: str | None
    merchant_ref: str | None
    receipt: str
    body: bytes
    state: str
    last_error: str | None


def convert(row: OldRow, settings: Settings) -> OldEvent:
    """Return the event. What was worked is done; the rest is held, so that nothing old is announced anew."""
    old_id, at, source = row.word("id"), row.moment("timestamp"), source_of(settings)
    payload = row.json("payload")
    body = msgspec.json.encode({} if payload is None else payload)
    envelope = parse(body)
    identity = identify(source, body, envelope, rule="paysafe", provider_event_id=None)
    name, resource, merchant = row.text("eventType") or "", None, None
    if isinstance(envelope, Unreadable):
        row.note("its payload is no JSON object; it is kept and can be read, and changes nothing")
    else:
        name = short_text(envelope.name) or name
        resource = short_text(envelope.resource_id)
        merchant = short_text(envelope.payload.get("merchantRefNum"))
    error, processed = row.text("error"), row.flag("processed")
    if not processed:
        row.note("it was not worked by the old system; it is held here: wharfd events replay works it")
    receipt = {
        "headers": [["signature", row.text("signature") or ""], ["user-agent", row.text("userAgent") or ""]],
        "path": "(imported)",
        "client": row.text("ipAddress") or "",
        "arrived_at": at,
        "monotonic": 0.0,
        "scheme": "paysafe",
        "verdict": "imported",
        "identity_by": identity.by,
        "kind": "unknown",
        "shape": "imported",
        "provider_event_id": old_id,
        "notes": ["imported: the bytes that were signed are not known"],
    }
    return OldEvent(
        stable_id("evt", at, SYSTEM, old_id),
        at,
        source,
        row.text("companyId"),
        identity.key[:IDENTITY_BYTES],
        identity.content[:IDENTITY_BYTES],
        name,
        resource,
        merchant,
        msgspec.json.encode(receipt).decode(),
        body,
        "done" if processed else "held",
        error if processed else error or NOT_WORKED,
    )


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldEvent]) -> int:
    """Add the events that are not there, and their identities, so that a late copy is known again."""
    return int(await tx.fetchval(ADD, *columns_of(records)))


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldEvent]) -> list[Any]:
    """Return the events as they stand in the table."""
    rows = await tx.fetch(READ, [one.id for one in records], [one.received_at for one in records])
    return stored_of(records, rows, "id")


EVENTS = Importer(
    name="events",
    system=SYSTEM,
    table="webhook_events",
    key=("id",),
    needs=("id", "timestamp", "eventType", "processed", "payload"),
    convert=convert,
    write=write,
    read=read,
    months=(("netbanx.events", "received_at"),),
)
