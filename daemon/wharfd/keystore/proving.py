"""Proving that sealed values open: some of every sealed column, found by what the data keys are for."""

from __future__ import annotations

from ..db import Database, quoted, sql
from ..errors import SecretError
from ..secrets.vault import Vault

TABLES = sql(
    "secrets_sealed_tables",
    """SELECT k.purpose AS table_name, array_agg(k.id) AS keys FROM wharfd.data_keys k
        WHERE k.kind = 'seal' AND to_regclass(k.purpose) IS NOT NULL GROUP BY 1 ORDER BY 1""",
)
COLUMNS = sql(
    "secrets_sealed_columns",
    """SELECT a.attname AS sealed, (SELECT min(p.attname) FROM pg_index i
              JOIN pg_attribute p ON p.attrelid = i.indrelid AND p.attnum = ANY (i.indkey)
             WHERE i.indrelid = a.attrelid AND i.indisprimary HAVING count(*) = 1) AS key
         FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.atttypid = 'bytea'::regtype
          AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1""",
)


async def prove_sealed(database: Database, vault: Vault, *, rows: int = 100) -> dict[str, int]:
    """Open up to `rows` values, picked by chance, of every sealed column; return how many, by column.

    Raises `SecretError` for the first that does not open. A table whose values are not bound to its primary
    key of one column is left out.
    """
    opened: dict[str, int] = {}
    for table in await database.fetch(TABLES):
        name = table["table_name"]
        marks = [b"\x01" + key_id.to_bytes(8, "big") for key_id in table["keys"]]
        for column in await database.fetch(COLUMNS, name):
            if column["key"] is None:
                continue
            key, value = quoted(column["key"]), quoted(column["sealed"])
            some = sql(
                "secrets_some_sealed",
                f"""SELECT t.{key}::text AS row_id, t.{value} AS sealed FROM {quoted(name)} t
                     WHERE substring(t.{value} FROM 1 FOR 9) = ANY ($1)
                     ORDER BY random() LIMIT {int(rows)}""",
            )
            for row in await database.fetch(some, marks):
                try:
                    await vault.open(name, column["sealed"], row["row_id"], row["sealed"])
                except SecretError as error:
                    raise SecretError(f"{name}.{column['sealed']}: {error}") from None
                counted = f"{name}.{column['sealed']}"
                opened[counted] = opened.get(counted, 0) + 1
    return opened
