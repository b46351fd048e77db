"""Sealing the values of a column again with the table's current data key, and retiring the old one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..db import Database, quoted, sql
from ..errors import SecretError
from ..secrets.vault import Vault

BATCH_ROWS = 500
MAX_REASONS = 100
GRACE_SECONDS = 3600.0  # daemons learn of a new key within seconds; a transaction may stay open for longer

COLUMN_TYPE = sql(
    "secrets_column_type",
    """SELECT format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = to_regclass($1) AND attname = $2 AND attnum > 0 AND NOT attisdropped""",
)
RETIRE = sql(
    "secrets_retire_keys",
    """UPDATE wharfd.data_keys SET retired_at = now()
        WHERE purpose = $1 AND kind = 'seal' AND retired_at IS NULL AND id <> ALL($2::bigint[])
          AND superseded_at < now() - make_interval(secs => $3) RETURNING id""",
)


@dataclass(frozen=True)
class ResealPlan:
    """How many rows name which data key, and how many do not name the current one."""

    table: str
    column: str
    current_key_id: int
    rows_by_key: dict[int, int]

    @property
    def remaining(self) -> int:
        """How many rows are to be sealed again."""
        return sum(count for key_id, count in self.rows_by_key.items() if key_id != self.current_key_id)


@dataclass(frozen=True)
class Resealed:
    """What `reseal` did. Values that do not open stay as they are: how many, and why the first of them."""

    resealed: int
    refused: int
    reasons: dict[str, str]
    remaining: int


async def plan_reseal(database: Database, vault: Vault, table: str, column: str) -> ResealPlan:
    """Count what `reseal` would do; changes nothing."""
    count = sql(
        "secrets_count_by_key",
        f"""SELECT substring({quoted(column)} FROM 2 FOR 8) AS key, count(*) AS rows
              FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL GROUP BY 1""",
    )
    rows = {int.from_bytes(row["key"], "big"): row["rows"] for row in await database.fetch(count)}
    return ResealPlan(table, column, await vault.current_key_id(table), rows)


async def reseal(
    database: Database,
    vault: Vault,
    table: str,
    column: str,
    key_column: str = "id",
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Resealed:
    """Seal every value of the column that names an old data key with the current one.

    `key_column` is unique, and its text is the row id the values were sealed for. Works in small batches and
    can be stopped and repeated at any time. A row that somebody changes meanwhile keeps the new value.
    """
    await vault.refresh()
    plan = await plan_reseal(database, vault, table, column)
    kind = await database.fetchval(COLUMN_TYPE, table, key_column)
    if kind is None:
        raise SecretError(f"{table} has no column {key_column}; name the one that holds the row id")
    current = plan.current_key_id.to_bytes(8, "big")
    key, value, relation = quoted(key_column), quoted(column), quoted(table)
    # Ordered by t.key, never by an output name: a key column called row_id would be sorted as text.
    page = f"""SELECT t.{key}::text AS row_id, t.{value} AS sealed FROM {relation} t
                WHERE substring(t.{value} FROM 2 FOR 8) <> $1 %s ORDER BY t.{key} LIMIT {BATCH_ROWS}"""
    first_page = sql("secrets_reseal_first", page % "")
    next_page = sql("secrets_reseal_next", page % f"AND t.{key} > $2::text::{kind}")
    store = sql(
        "secrets_reseal_store",
        f"""UPDATE {relation} AS t SET {value} = n.fresh
              FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS n (row_id, sealed, fresh)
             WHERE t.{key} = n.row_id::{kind} AND t.{value} = n.sealed""",
    )
    done, refused, reasons, last = 0, 0, dict[str, str](), ""
    while rows := await database.fetch(*((next_page, current, last) if last else (first_page, current))):
        last = rows[-1]["row_id"]
        fresh: list[tuple[str, bytes, bytes]] = []
        for row in rows:
            try:
                plaintext = await vault.open(table, column, row["row_id"], row["sealed"])
            except SecretError as exc:
                refused += 1
                if len(reasons) < MAX_REASONS:
                    reasons[row["row_id"]] = str(exc)
                continue
            fresh.append(
                (row["row_id"], row["sealed"], await vault.seal(table, column, row["row_id"], plaintext))
            )
        if fresh:
            done += await database.execute(store, *map(list, zip(*fresh, strict=True)))
        progress(done, plan.remaining)
    after = await plan_reseal(database, vault, table, column)
    return Resealed(done, refused, reasons, after.remaining)


async def retire_data_keys(
    database: Database,
    vault: Vault,
    table: str,
    columns: Iterable[str],
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> list[int]:
    """Mark the table's old data keys that no row of its sealed `columns` names any more; return their ids.

    A key is left alone for `grace_seconds` after it was superseded. A retired key is kept and still opens
    what is brought back from an archive; it is only said that no row needs it.
    """
    named: set[int] = set()
    for column in columns:
        named |= (await plan_reseal(database, vault, table, column)).rows_by_key.keys()
    named = {key_id for key_id in named if key_id < 1 << 63}
    rows = await database.fetch(RETIRE, table, sorted(named), grace_seconds)
    return sorted(row["id"] for row in rows)
