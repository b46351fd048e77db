"""Reading results: by index, in pages, all of them or those that failed or were not reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from wharfd import Queries, Record, sql

Which = Literal["all", "succeeded", "failed", "unprocessed", "duplicates"]

STATES: dict[str, tuple[str, ...]] = {
    "all": (),
    "succeeded": ("done",),
    "failed": ("buried", "skipped"),
    "unprocessed": ("waiting", "ready", "running", "held", "cancelled"),
    "duplicates": ("duplicate",),
}
_COLUMNS = """i.idx, i.line, i.client_ref, i.account, i.currency, i.amount, i.state, i.code, i.last_error,
    i.attempts, i.finished_at, i.payload, i.same_idx, o.id AS order_id, o.external_id, s.state AS same_state,
    s.last_error AS same_error, b.id AS same_batch_id"""
_FROM = """FROM orders.items i
    LEFT JOIN orders.orders o ON o.batch = coalesce(i.same_batch, i.batch)
      AND o.idx = coalesce(i.same_idx, i.idx) AND i.state IN ('done', 'duplicate')
    LEFT JOIN orders.items s ON s.batch = i.same_batch AND s.idx = i.same_idx
    LEFT JOIN orders.batches b ON b.number = i.same_batch"""
ALL = sql(
    "list_results", f"SELECT {_COLUMNS} {_FROM} WHERE i.batch = $1 AND i.idx > $2 ORDER BY i.idx LIMIT $3"
)
SOME = sql(
    "list_some_results",
    f"""SELECT {_COLUMNS} {_FROM} WHERE i.batch = $1 AND i.idx > $2 AND i.state = ANY ($4::text[])
    ORDER BY i.idx LIMIT $3""",
)
# The same for states that a partial index holds, said so that the planner sees it.
UNSUCCESSFUL = sql(
    "list_unsuccessful_results",
    f"""SELECT {_COLUMNS} {_FROM} WHERE i.batch = $1 AND i.idx > $2 AND i.state = ANY ($4::text[])
      AND i.state IN ('buried', 'skipped', 'cancelled', 'duplicate', 'held')
    ORDER BY i.idx LIMIT $3""",
)
_PAGE = 1000


async def page(db: Queries, batch: int, which: str, after: int, limit: int) -> list[Record]:
    """Return results with an index above `after`, in order."""
    if which == "all":
        return await db.fetch(ALL, batch, after, limit)
    statement = UNSUCCESSFUL if which in ("failed", "duplicates") else SOME
    return await db.fetch(statement, batch, after, limit, list(STATES[which]))


async def stream(db: Queries, batch: int, which: str) -> AsyncIterator[list[Record]]:
    """Give all results, some at a time, each page by a query of its own: no transaction is held open."""
    after = -1
    while rows := await page(db, batch, which, after, _PAGE):
        yield rows
        after = rows[-1]["idx"]
