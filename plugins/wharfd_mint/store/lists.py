"""Lists of buyers and mints: one statement per combination of filters, so that each uses its own index."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache

from wharfd import Database, Record, Statement, sql

from .buyers import COLUMNS, Buyer

_MINT_COLUMNS = (
    "id, license_id, buyer_id, wallet, tier, owner, minter, stage, trouble, doomed, tx_hash, token_id, "
    "block, delivered_at, final, checked_at, created_at, state, due_at, attempts, last_error, finished_at"
)


Wanted = Mapping[str, str | None]  # column and value; None: any
After = tuple[datetime, str] | None  # the last row of the page before


@cache
def statement(table: str, columns: str, filters: tuple[str, ...], after: bool) -> Statement:
    """Return the statement that lists a table, newest first, with these filters."""
    terms = [f"{name} = ${number}" for number, name in enumerate(filters, 1)]
    here = len(filters)
    if after:
        terms.append(f"(created_at, id) < (${here + 1}, ${here + 2})")
        here += 2
    where = f"WHERE {' AND '.join(terms)} " if terms else ""
    name = "_".join(["list", table, *filters, *(["after"] if after else [])])
    return sql(
        name,
        f"SELECT {columns} FROM mint.{table} {where}ORDER BY created_at DESC, id DESC LIMIT ${here + 1}",
    )


async def _rows(
    db: Database, table: str, columns: str, wanted: Wanted, after: After, limit: int
) -> list[Record]:
    given = {name: value for name, value in wanted.items() if value is not None}
    chosen = statement(table, columns, tuple(given), after is not None)
    return await db.fetch(chosen, *given.values(), *(after or ()), limit)


async def buyers(db: Database, wanted: Wanted, after: After, limit: int) -> list[Buyer]:
    """Return buyers that match, newest first."""
    return [Buyer(**row) for row in await _rows(db, "buyers", COLUMNS, wanted, after, limit)]


async def mints(db: Database, wanted: Wanted, after: After, limit: int) -> list[Record]:
    """Return mints that match, newest first."""
    return await _rows(db, "intents", _MINT_COLUMNS, wanted, after, limit)


_MINT = sql("get_mint", f"SELECT {_MINT_COLUMNS}, history FROM mint.intents WHERE license_id = $1")
_ATTEMPTS = sql(
    "attempts_of_mint",
    """SELECT a.id, a.chain_id, a.signer, a.nonce, a.kind, a.hash, a.gas, a.max_fee::text,
  a.priority_fee::text, a.signed_at, a.sent, a.first_sent_at, a.sent_at, a.endpoint,
  a.failure, a.error, a.block, a.block_hash, a.mined_ok, a.gas_used, a.reorged, n.open AS nonce_open,
  n.outcome AS nonce_outcome
FROM mint.attempts a JOIN mint.nonces n USING (chain_id, signer, nonce)
WHERE a.intent_id = $1 ORDER BY a.id LIMIT 500""",
)


async def mint(db: Database, license_id: str) -> Record | None:
    """Return the mint of a license."""
    return await db.fetchrow(_MINT, license_id)


async def attempts(db: Database, intent_id: str) -> list[Record]:
    """Return every transaction signed for a mint, oldest first; without the raw bytes."""
    return await db.fetch(_ATTEMPTS, intent_id)
