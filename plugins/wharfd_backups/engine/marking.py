"""Counting what the tables hold at a moment, so that a restore to that moment can be checked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
import trio

from ..model.catalogue import Marker, Tally
from .programs import ProgramFailed, Programs

_COUNTABLE_ROWS = 2_000_000  # a larger table would keep the server busy for longer than its count is worth
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0;"
# One statement, so that everything is of one snapshot also outside a transaction.
_COUNT = (
    r"""
SELECT jsonb_build_object(
  'at', clock_timestamp(), 'snapshot', pg_current_snapshot()::text,
  'tables', coalesce((SELECT jsonb_object_agg(name, jsonb_build_object('rows', rows, 'exact', exact)) FROM (
    SELECT format('%s.%s', n.nspname, c.relname) AS name, coalesce(s.n_tup_del + s.n_tup_upd, 0) = 0 AS exact,
           (xpath('/row/c/text()', query_to_xml(
             format('SELECT count(*) AS c FROM %I.%I', n.nspname, c.relname), false, true, '')))[1]::text::bigint AS rows
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
     WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.reltuples < """
    + str(_COUNTABLE_ROWS)
    + r"""
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%'
       AND has_table_privilege(c.oid, 'SELECT')) t), '{}'))::text"""
)


class Counted(msgspec.Struct):
    """What one snapshot held."""

    at: datetime
    snapshot: str
    tables: dict[str, Tally]


def count_statement() -> str:
    """Return the SQL that counts."""
    return _COUNT


async def mark(programs: Programs, dsn: str, name: str) -> Marker | None:
    """Count the tables and set a restore point right behind; None where the role may not set one.

    The file of the log in which the point lies is ended, so that it is archived at once.
    """
    counted = msgspec.json.decode(await programs.value(dsn, _COUNT), type=Counted)
    try:
        lsn = await programs.value(dsn, f"SELECT pg_create_restore_point('{name}')")
        await programs.value(dsn, "SELECT pg_switch_wal()")
    except ProgramFailed as error:
        if "permission denied" in str(error):
            return None
        raise
    return Marker(lsn, counted.at, counted.snapshot, counted.tables)


@contextlib.asynccontextmanager
async def exported_snapshot(programs: Programs, dsn: str) -> AsyncIterator[tuple[str, Counted]]:
    """Hold a snapshot open for a dump, and say what it holds."""
    bare, env = programs.environment(dsn)
    command = [str(programs.binaries.program("psql")), "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1"]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(_open, [*command, "-d", bare], env)
        assert process.stdin is not None
        assert process.stdout is not None
        question = f"{_BEGIN} SELECT pg_export_snapshot(); {_COUNT};\n"
        await process.stdin.send_all(question.encode())
        answer = b""
        while answer.count(b"\n") < 2:
            chunk = await process.stdout.receive_some()
            if not chunk:
                raise ProgramFailed("psql failed while a snapshot was made; the role may lack rights to read")
            answer += chunk
        snapshot, counted = answer.decode().splitlines()[:2]
        try:
            yield snapshot, msgspec.json.decode(counted, type=Counted)
        finally:
            nursery.cancel_scope.cancel()


async def _open(
    command: list[str],
    env: dict[str, str],
    task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED,
) -> None:
    import subprocess

    await trio.run_process(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False, task_status=task_status
    )
