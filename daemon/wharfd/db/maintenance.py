"""Putting the database in order: analyze, clean up, rebuild bloated indexes; each step in the log.

All of it runs as the owner role, on one connection, outside a transaction, never two at a time across all
daemons, and never takes a lock that blocks readers or writers. Looking is in `inspection`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from time import perf_counter
from typing import Any, Literal

import asyncpg
import msgspec
import structlog

from ..errors import MaintenanceBusy, StatementTimeout
from .database import Database
from .inspection import indexes
from .queries import Queries
from .session import Session
from .statements import quoted, sql

_log = structlog.get_logger("wharfd.db.maintenance")

TRY_LOCK = sql(
    "maintenance_try_lock", "SELECT pg_try_advisory_lock(hashtextextended('wharfd.maintenance', 0))"
)
# Parents are analyzed with their partitions: autovacuum never does parents, and the planner needs them.
OWN_TABLES = sql(
    "maintenance_own_tables",
    """SELECT n.nspname || '.' || c.relname
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND pg_has_role(c.relowner, 'USAGE')
          AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
        ORDER BY 1""",
)
# More than a tenth dead, and enough of them to be worth the reading.
DIRTY_TABLES = sql(
    "maintenance_dirty_tables",
    """SELECT s.schemaname || '.' || s.relname
         FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
        WHERE pg_has_role(c.relowner, 'USAGE') AND c.relkind = 'r'
          AND s.n_dead_tup > $1 AND s.n_dead_tup > 0.1 * s.n_live_tup
        ORDER BY s.n_dead_tup DESC""",
)
RECORD = sql(
    "maintenance_record",
    """INSERT INTO wharfd.maintenance_log (action, target, actor, outcome, detail, duration_seconds)
       VALUES ($1, $2, $3, $4, $5, $6)""",
)
LOG = sql(
    "maintenance_log",
    """SELECT id, started_at, action, target, actor, outcome, detail, duration_seconds
         FROM wharfd.maintenance_log WHERE id < coalesce($1, 9223372036854775807)
        ORDER BY id DESC LIMIT $2""",
)
FORGET = sql(
    "maintenance_log_forget",
    """DELETE FROM wharfd.maintenance_log
        WHERE started_at < $1 AND NOT wharfd.held('wharfd.maintenance_log', NULL, id::text)""",
)

_DIRTY_ROWS = 1000
_FAILURES = (asyncpg.PostgresError, StatementTimeout)


class Step(msgspec.Struct, frozen=True):
    """One thing that was done, or failed with `error`."""

    action: str
    target: str
    outcome: Literal["done", "failed"]
    seconds: float
    error: str = ""


class MaintenanceEntry(msgspec.Struct, frozen=True):
    """One line of the maintenance log."""

    id: int
    started_at: datetime
    action: str
    target: str
    actor: str
    outcome: str
    detail: dict[str, Any]
    duration_seconds: float


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[Session]:
    async with database.owner.session() as session:
        if not await session.fetchval(TRY_LOCK):
            raise MaintenanceBusy
        yield session


async def record(
    database: Queries,
    action: str,
    target: str = "",
    *,
    actor: str,
    seconds: float,
    outcome: Literal["done", "failed"] = "done",
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one line into the maintenance log; for others too (partitions, migrations, retention)."""
    await database.execute(RECORD, action, target, actor, outcome, detail or {}, seconds)


async def log(database: Queries, *, limit: int = 50, before: int | None = None) -> list[MaintenanceEntry]:
    """Return the latest lines, newest first; `before` is the last id of the previous page."""
    return [MaintenanceEntry(**dict(row)) for row in await database.fetch(LOG, before, limit)]


async def forget(database: Queries, older_than: datetime) -> int:
    """Delete log lines from before the given time, and return how many."""
    return await database.execute(FORGET, older_than)


async def _step(session: Session, action: str, target: str, command: str, actor: str) -> Step:
    started = perf_counter()
    error = ""
    try:
        await session.execute(sql(f"maintenance.{action}", command))
    except _FAILURES as failure:
        error = str(failure)
        _log.warning("maintenance_failed", action=action, target=target, error=error)
    seconds = perf_counter() - started
    outcome: Literal["done", "failed"] = "failed" if error else "done"
    detail = {"error": error} if error else {}
    await record(session, action, target, actor=actor, seconds=seconds, outcome=outcome, detail=detail)
    return Step(action, target, outcome, seconds, error)


async def analyze(database: Database, *, actor: str, tables: Sequence[str] | None = None) -> list[Step]:
    """Refresh the planner's statistics of the given tables, or of all that wharfd owns.

    Raises `MaintenanceBusy` while maintenance runs already, here or on another daemon.
    """
    async with _alone(database) as session:
        names = tables if tables is not None else [row[0] for row in await session.fetch(OWN_TABLES)]
        return [await _step(session, "analyze", name, f"ANALYZE {quoted(name)}", actor) for name in names]


async def cleanup(database: Database, *, actor: str, dirty_rows: int = _DIRTY_ROWS) -> list[Step]:
    """Vacuum tables with many dead rows and drop what interrupted index builds left behind.

    Raises `MaintenanceBusy` like `analyze`.
    """
    async with _alone(database) as session:
        steps = await _drop_leftovers(session, actor)
        for row in await session.fetch(DIRTY_TABLES, dirty_rows):
            steps.append(await _step(session, "vacuum", row[0], f"VACUUM (ANALYZE) {quoted(row[0])}", actor))
        return steps


async def reindex(database: Database, *, actor: str, names: Sequence[str] | None = None) -> list[Step]:
    """Rebuild the given indexes, or all that are bloated or invalid, without blocking anybody.

    An interrupted rebuild leaves an invalid `…_ccnew` behind; those are dropped before and after.
    Raises `MaintenanceBusy` like `analyze`, ValueError for an index that does not exist.
    """
    async with _alone(database) as session:
        steps = await _drop_leftovers(session, actor)
        known = {index.name: index for index in await indexes(session)}
        if names is None:
            names = [name for name, index in known.items() if index.bloated or not index.valid]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"there is no index {unknown[0]!r}")
        for name in names:
            if not known[name].valid:
                await record(session, "invalid_index_found", name, actor=actor, seconds=0.0)
            command = f"REINDEX INDEX CONCURRENTLY {quoted(name)}"
            steps.append(await _step(session, "reindex", name, command, actor))
        return steps + await _drop_leftovers(session, actor)


async def _drop_leftovers(session: Session, actor: str) -> list[Step]:
    steps = []
    for index in await indexes(session):
        if index.leftover:
            command = f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(index.name)}"
            steps.append(await _step(session, "drop_leftover", index.name, command, actor))
    return steps
