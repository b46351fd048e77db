"""Counting what the tables hold at a moment, so that a restore to that moment can be checked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ..model.catalogue import Marker, Tally
from .programs import ProgramFailed, Programs

_COUNTABLE_ROWS = 2_000_000  # a larger table would keep the server busy for longer than its count is worth
_HASHED_ROWS = 200_000  # hashing a row costs more than counting it
_END = "counted"
# Rows are hashed as text, and so that their order does not matter: both servers must write them alike.
ALIKE = """SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL search_path = pg_catalog;"""
HASH = "bit_xor(hashtextextended((of_it.*)::text, 0))"
NEWEST = 'max(of_it.%I::text COLLATE "C")'
# A script for psql: the second statement writes the third, and all are of one snapshot.
_SCRIPT = rf"""\set QUIET on
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = 0;
{ALIKE}
SELECT jsonb_build_object('at', clock_timestamp(), 'export', pg_export_snapshot(),
                          'snapshot', pg_current_snapshot()::text);
SELECT coalesce(string_agg(format('SELECT jsonb_build_object(''table'', %L, ''exact'', %L::bool,'
             ' ''deleted'', %L::bigint, ''rows'', count(*), ''hash'', %s, ''newest'', %s) FROM %I.%I of_it',
             n.nspname || '.' || c.relname, k.never_changed, coalesce(s.n_tup_del, 0),
             CASE WHEN k.never_changed AND c.reltuples < {_HASHED_ROWS} THEN '{HASH}' ELSE 'NULL' END,
             CASE WHEN k.key IS NULL THEN 'NULL' ELSE format('{NEWEST}', k.key) END, n.nspname, c.relname),
             ' UNION ALL '), 'SELECT 1 WHERE false') AS counting
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
  CROSS JOIN LATERAL (SELECT coalesce(s.n_tup_del + s.n_tup_upd, 0) = 0 AS never_changed,
              (SELECT a.attname FROM pg_index i
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                WHERE i.indrelid = c.oid AND i.indisprimary) AS key) k
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.reltuples < :largest
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
   AND has_table_privilege(c.oid, 'SELECT') \gset
:counting;
\echo {_END}
"""


class _Moment(msgspec.Struct):
    at: datetime
    export: str
    snapshot: str


class _Table(msgspec.Struct):
    table: str
    rows: int
    exact: bool
    hash: int | None = None
    newest: str | None = None
    deleted: int | None = None


class Counted(msgspec.Struct):
    """What one snapshot held."""

    at: datetime
    snapshot: str
    tables: dict[str, Tally]


async def mark(programs: Programs, dsn: str, name: str) -> Marker | None:
    """Count the tables and set a restore point right behind; None where the role may not set one.

    The file of the log in which the point lies is ended, so that it is archived at once.
    """
    async with exported_snapshot(programs, dsn) as (_, counted):
        pass
    try:
        lsn = await programs.value(dsn, f"SELECT pg_create_restore_point('{name}')")
        await programs.value(dsn, "SELECT pg_switch_wal()")
    except ProgramFailed as error:
        if "permission denied" in str(error):
            return None
        raise
    return Marker(lsn, counted.at, counted.snapshot, counted.tables)


@contextlib.asynccontextmanager
async def exported_snapshot(
    programs: Programs, dsn: str, *, largest: int = _COUNTABLE_ROWS
) -> AsyncIterator[tuple[str, Counted]]:
    """Hold a snapshot open for a dump, and say what it holds in tables of up to `largest` rows."""
    async with programs.conversation(dsn, "-v", f"largest={largest}") as psql:
        await psql.send_all(_SCRIPT.encode())
        answer = b""
        while not answer.endswith(f"{_END}\n".encode()):
            chunk = await psql.receive_some()
            if not chunk:
                words = answer.decode(errors="replace").strip().splitlines()[-1:]
                raise ProgramFailed(
                    f"psql failed while the tables were counted: {''.join(words) or 'no word'}"
                )
            answer += chunk
        first, *rest = answer.splitlines()[:-1]
        moment = msgspec.json.decode(first, type=_Moment)
        tables = [msgspec.json.decode(line, type=_Table) for line in rest]
        tallies = {t.table: Tally(t.rows, t.exact, t.hash, t.newest, t.deleted) for t in tables}
        yield moment.export, Counted(moment.at, moment.snapshot, tallies)
