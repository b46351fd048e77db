"""An old PostgreSQL database, read in pages by key. Every row comes as JSON, so all sources read alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from ..db import Bridge, DatabaseSettings
from ..db.connecting import Target, close, connect
from ..db.settings import shown
from .errors import SourceError
from .rows import read_fields
from .sources import OldTable, Position

_TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text) AS columns,
       array_agg(format_type(a.atttypid, a.atttypmod)) AS types, greatest(c.reltuples, 0)::bigint AS rows
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 GROUP BY c.oid, c.relname, c.reltuples"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class OldDatabase:
    """One schema of an old database. It is only ever read."""

    def __init__(self, bridge: Bridge, connection: asyncpg.Connection, url: str, schema: str) -> None:
        self._bridge = bridge
        self._connection = connection
        self._schema = schema
        self._types: dict[str, dict[str, str]] = {}
        self.name = f"postgresql {shown(url)} {schema}"

    async def tables(self) -> Mapping[str, OldTable]:
        """Return the tables and views of the schema; small ones are counted, large ones estimated."""
        found = {}
        for row in await self._ask(self._connection.fetch, _TABLES, self._schema):
            self._types[row["name"]] = dict(zip(row["columns"], row["types"], strict=True))
            rows = row["rows"]
            if rows < 100_000:
                count = f"SELECT count(*) FROM {self._full(row['name'])}"
                rows = await self._ask(self._connection.fetchval, count)
            found[row["name"]] = OldTable(row["name"], frozenset(row["columns"]), rows)
        return found

    async def read(
        self, table: str, key: Sequence[str], after: Position, limit: int
    ) -> list[tuple[Position, Mapping[str, Any]]]:
        """Return a page of rows in the order of the key; the position is the key of a row."""
        types = self._types[table]
        columns = ", ".join(_quoted(column) for column in key)
        places = ", ".join(f"${n}::text::{types[column]}" for n, column in enumerate(key, 1))
        where = f"WHERE ({columns}) > ({places})" if after else ""
        place = ", ".join(f"{_quoted(column)}::text" for column in key)
        query = (
            f"SELECT to_jsonb(t)::text AS row, jsonb_build_array({place})::text AS place"
            f" FROM {self._full(table)} t {where} ORDER BY {columns} LIMIT {limit:d}"
        )
        behind = msgspec.json.decode(after, type=list[str]) if after else []
        rows = await self._ask(self._connection.fetch, query, *behind)
        return [(row["place"], read_fields(row["row"])) for row in rows]

    def _full(self, table: str) -> str:
        return f"{_quoted(self._schema)}.{_quoted(table)}"

    async def _ask(self, call: Any, *args: Any) -> Any:
        try:
            return await self._bridge.run(call, *args)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise SourceError(
                f"the old database cannot be read: {error}; run the import again to go on"
            ) from error


@asynccontextmanager
async def open_postgres(bridge: Bridge, url: str, schema: str) -> AsyncIterator[OldDatabase]:
    """Connect to the old database, to a standby if that is what the URL names, with reading rights alone."""
    settings = DatabaseSettings(url=url, application_name="wharfd-import", connect_timeout_seconds=15.0)
    target = Target(purpose="import", url=url, size=1, session="any", statement_timeout_seconds=300.0)
    connection = await connect(bridge, settings, target)
    try:
        await bridge.run(
            connection.execute, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET timezone = 'UTC'"
        )
        yield OldDatabase(bridge, connection, url, schema)
    finally:
        await close(bridge, connection)
