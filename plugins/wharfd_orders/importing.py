"""`bulk_order_batches` and `bulk_order_results` of the system before.

A batch comes with one row per order it had, marked as not kept; the results then fill them in. What the old
system had not processed it kept nowhere, so those rows stay as they are: cancelled, and never carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, columns_of, sql, stored_of

from .config import Settings

SYSTEM = "webhooks, bulk orders and integrations"
MOST = 100_000
NOT_KEPT = "not_kept"

ADD = sql(
    "import_batch",
    """WITH added AS (
  INSERT INTO orders.batches (id, owner, executor, lane, total, source, content_sha256, created_by,
    created_at, started_at, finished_at)
  VALUES ($1, $2, 'import', 'import', $3, $4, sha256(convert_to($1, 'UTF8')), 'import', $5, $5, $6)
  ON CONFLICT (id) DO NOTHING RETURNING number
)
INSERT INTO orders.items (batch, idx, line, owner, lane, share, payload, code, state, finished_at, due_at)
SELECT number, idx, idx + 1, $2, 'import', $2, '{}', 'not_kept', 'cancelled', $6, $5
FROM added, generate_series(0, $3::integer - 1) idx""",
)
READ = sql(
    "read_imported_batches",
    """SELECT b.id, b.owner, b.total, b.source, b.created_at, b.finished_at
FROM unnest($1::text[]) AS g (id) JOIN orders.batches b USING (id)""",
)
COUNT = sql("count_imported_batches", "SELECT count(*) FROM orders.batches WHERE id = ANY ($1::text[])")
FILL = sql(
    "import_results",
    """UPDATE orders.items i SET state = g.state, code = NULL, last_error = g.error, payload = g.payload,
  attempts = 1, finished_at = g.at
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[])
  AS g (batch_id, idx, state, error, payload, at)
JOIN orders.batches b ON b.id = g.batch_id AND b.executor = 'import'
WHERE i.batch = b.number AND i.idx = g.idx AND i.state = 'cancelled' AND i.code = 'not_kept'""",
)
READ_RESULTS = sql(
    "read_imported_results",
    """SELECT b.id AS batch_id, i.idx, i.state, i.last_error AS error, i.payload, i.finished_at AS at
FROM unnest($1::text[], $2::integer[]) AS g (batch_id, idx)
JOIN orders.batches b ON b.id = g.batch_id
JOIN orders.items i ON i.batch = b.number AND i.idx = g.idx AND i.code IS NULL""",
)


class OldBatch(msgspec.Struct, frozen=True):
    """A batch as it will stand in the table."""

    id: str
    owner: str
    total: int
    source: dict[str, Any]
    created_at: datetime
    finished_at: datetime


class OldResult(msgspec.Struct, frozen=True):
    """What became of one order."""

    batch_id: str
    idx: int
    state: str
    error: str | None
    payload: dict[str, Any]
    at: datetime


def convert(row: OldRow, settings: Settings) -> OldBatch:
    """Return the batch. Its status follows from its rows; the old one is kept beside it."""
    batch_id, created, total = row.word("batch_id"), row.moment("created_at"), row.integer("total")
    if total is None or not 0 <= total <= MOST:
        raise Unfit(f"total {total} is not between 0 and {MOST}")
    status = row.word("status", ("pending", "processing", "completed", "failed", "partial"))
    if status in ("pending", "processing"):
        row.note("it was not finished; the orders that had no result were never kept and are not carried out")
    source = {"format": "import", "status": status, "error": row.text("error")}
    finished = row.time("completed_at") or created
    return OldBatch(batch_id, row.text("user_id") or "", total, source, created, finished)


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldBatch]) -> int:
    """Add the batches that are not there, in order, so that the newest has the highest number."""
    before = await tx.fetchval(COUNT, [one.id for one in records])
    for one in sorted(records, key=lambda one: one.created_at):
        await tx.execute(ADD, one.id, one.owner, one.total, one.source, one.created_at, one.finished_at)
    return int(await tx.fetchval(COUNT, [one.id for one in records]) - before)


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldBatch]) -> list[Any]:
    """Return the batches as they stand in the table."""
    return stored_of(records, await tx.fetch(READ, [one.id for one in records]), "id")


def convert_result(row: OldRow, settings: Settings) -> OldResult:
    """Return what became of an order; the ids it got in other systems stand with what it was."""
    index = row.integer("order_index")
    if index is None or index < 0:
        raise Unfit(f"order_index {index} is none")
    data = row.json("order_data")
    payload = data if isinstance(data, dict) else {} if data is None else {"order": data}
    ids = {"orderId": row.text("order_id"), "modelOrderId": row.text("model_order_id")}
    payload |= {name: value for name, value in ids.items() if value is not None}
    done = row.flag("success")
    return OldResult(
        row.word("batch_id"),
        index,
        "done" if done else "buried",
        row.text("error") or (None if done else "it failed; the old system did not say why"),
        payload,
        row.moment("created_at"),
    )


async def write_results(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldResult]) -> int:
    """Fill in the rows of batches that were imported."""
    return await tx.execute(FILL, *columns_of(records))


async def read_results(
    ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldResult]
) -> list[Any]:
    """Return the results as they stand in the table."""
    rows = await tx.fetch(READ_RESULTS, [one.batch_id for one in records], [one.idx for one in records])
    return stored_of(records, rows, "batch_id", "idx")


IMPORTERS = (
    Importer(
        name="batches",
        system=SYSTEM,
        table="bulk_order_batches",
        key=("batch_id",),
        needs=("batch_id", "user_id", "status", "total", "created_at"),
        convert=convert,
        write=write,
        read=read,
    ),
    Importer(
        name="results",
        system=SYSTEM,
        table="bulk_order_results",
        key=("id",),
        needs=("id", "batch_id", "order_index", "success", "created_at"),
        convert=convert_result,
        write=write_results,
        read=read_results,
        after=("batches",),
    ),
)
