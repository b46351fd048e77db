"""Queries: a row by its id, a page of a list, a total; each through the pool, with bound values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from ...db import Statement, sql
from ..ground import Ground
from ..plan import Figure, figure
from .rows import OWNERS, fill

_RATE = 300.0
_P99_MS = 100.0
_PAGE = 50


async def run(ground: Ground) -> list[Figure]:
    """Ask each kind of question in turn."""
    rows = await fill(ground)
    table = f"{ground.plan.schema}.payments"
    by_id = sql("bench.by_id", f"SELECT * FROM {table} WHERE id = $1")
    page = sql(
        "bench.page",
        f"SELECT * FROM {table} WHERE owner = $1 ORDER BY created_at DESC, id DESC LIMIT {_PAGE}",
    )
    totals = sql(
        "bench.totals", f"SELECT status, count(*), sum(amount) FROM {table} WHERE owner = $1 GROUP BY status"
    )

    async def ask(statement: Statement, value: Callable[[int], object], number: int) -> None:
        await ground.db.fetch(statement, value(number))

    def owner(number: int) -> str:
        return f"owner_{number * 31 % OWNERS}"

    kinds: dict[str, Callable[[int], Awaitable[None]]] = {
        "a row by id": partial(ask, by_id, lambda number: number * 7919 % rows + 1),
        "a page of 50": partial(ask, page, owner),
        "a total": partial(ask, totals, owner),
    }
    rate = ground.rate(_RATE)
    return [
        figure(
            "query",
            name,
            await ground.offered("query", name, one, rate),
            asked=rate,
            p99_below_ms=_P99_MS,
            note=f"of {rows:,} rows",
        )
        for name, one in kinds.items()
    ]
