"""The SQL of this plugin, one function per operation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from wharfd import Database, Record, Transaction, sql

from .model.catalogue import Changes

ADD = sql("add_run", "INSERT INTO backups.runs (id, kind, reason, actor, asked) VALUES ($1, $2, $3, $4, $5)")
BEGIN = sql(
    "begin_run",
    """UPDATE backups.runs SET state = 'running', started_at = now(), step = '', bytes = 0, error = NULL
    WHERE id = $1 AND state IN ('waiting', 'running') RETURNING id, kind, reason, actor, asked""",
)
STEP = sql(
    "step_run",
    """UPDATE backups.runs SET step = $2, bytes = $3
    WHERE id = $1 AND state = 'running' AND step <> 'mounted'""",  # news from before may come after it
)
END = sql(
    "end_run",
    """UPDATE backups.runs SET state = $2, finished_at = now(), error = $3, result = $4, bytes = $5
    WHERE id = $1""",
)
GET = sql("get_run", "SELECT * FROM backups.runs WHERE id = $1")
LIST = sql(
    "list_runs",
    """SELECT * FROM backups.runs WHERE asked_at < coalesce($1, 'infinity'::timestamptz)
    ORDER BY asked_at DESC, id DESC LIMIT $2""",
)
LIST_KIND = sql(
    "list_runs_of_kind",
    """SELECT * FROM backups.runs WHERE kind = $1 AND asked_at < coalesce($2, 'infinity'::timestamptz)
    ORDER BY asked_at DESC LIMIT $3""",
)
LAST_GOOD = sql(
    "last_good_run",
    """SELECT id, asked_at, finished_at, result FROM backups.runs WHERE kind = $1 AND state = 'done'
    ORDER BY asked_at DESC LIMIT 1""",
)
INTERRUPTED = sql(
    "mounts_left", "UPDATE backups.runs SET state = 'done', finished_at = now(), step = 'removed' "
    "WHERE kind = 'mount' AND state = 'running' RETURNING id",
)  # fmt: skip
NOW = sql("backups_now", "SELECT now()")
FIRST_RUN = sql("first_run", "SELECT min(applied_at) FROM wharfd.migrations WHERE plugin = 'backups'")


class Run(msgspec.Struct, frozen=True):
    """One row of `backups.runs`."""

    id: str
    kind: str
    reason: str
    actor: str
    asked: dict[str, Any]
    state: str
    step: str
    bytes: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    result: dict[str, Any]


class Begun(msgspec.Struct, frozen=True):
    """What a run that begins is to do."""

    id: str
    kind: str
    reason: str
    actor: str
    asked: dict[str, Any]


async def add(
    tx: Transaction, run_id: str, kind: str, reason: str, actor: str, asked: dict[str, Any]
) -> None:
    """Add a run that waits."""
    await tx.execute(ADD, run_id, kind, reason, actor, asked)


async def begin(db: Database, run_id: str) -> Begun | None:
    """Mark a run as running and return what it is to do; None when it is over already."""
    record = await db.fetchrow(BEGIN, run_id)
    return None if record is None else Begun(**dict(record))


async def step(db: Database, run_id: str, name: str, size: int) -> None:
    """Note how far a run is."""
    await db.execute(STEP, run_id, name, size)


async def end(
    db: Database | Transaction,
    run_id: str,
    state: str,
    *,
    error: str | None,
    result: dict[str, Any],
    size: int,
) -> None:
    """Note how a run ended."""
    await db.execute(END, run_id, state, error, result, size)


async def get(db: Database, run_id: str) -> Run | None:
    """Return a run."""
    record = await db.fetchrow(GET, run_id)
    return None if record is None else Run(**dict(record))


async def listed(db: Database, *, kind: str | None, before: datetime | None, limit: int) -> list[Run]:
    """Return the newest runs, of one kind or of all."""
    rows: list[Record]
    if kind is None:
        rows = await db.fetch(LIST, before, limit)
    else:
        rows = await db.fetch(LIST_KIND, kind, before, limit)
    return [Run(**dict(row)) for row in rows]


async def last_good(db: Database, kind: str) -> Record | None:
    """Return the newest run of a kind that ended well."""
    return await db.fetchrow(LAST_GOOD, kind)


async def forget_mounts(db: Database) -> list[str]:
    """Note that mounts of an earlier daemon are gone, and return their ids."""
    return [row[0] for row in await db.fetch(INTERRUPTED)]


async def now(db: Database) -> datetime:
    """Return the database's time."""
    at: datetime = await db.fetchval(NOW)
    return at


async def installed_at(db: Database) -> datetime:
    """Return since when this plugin's tables are there."""
    at: datetime = await db.fetchval(FIRST_RUN) or await now(db)
    return at


MOUNTED = sql("mounted_run", "UPDATE backups.runs SET step = 'mounted', result = $2 WHERE id = $1")


async def mounted(db: Database, run_id: str, result: dict[str, Any]) -> None:
    """Note that a mount can be used, and how."""
    await db.execute(MOUNTED, run_id, result)


MARK_BEFORE = sql(
    "mark_before",
    "SELECT max(at) FROM backups.marks WHERE at <= $1::timestamptz - interval '5 seconds'",
)
CHANGES = sql(
    "changed_tables",
    """SELECT (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS since,
        (SELECT coalesce(jsonb_object_agg(schemaname || '.' || relname, n_tup_del), '{}')
           FROM pg_stat_user_tables WHERE n_tup_upd + n_tup_del > 0) AS deleted""",
)


async def mark_before(db: Database, moment: datetime) -> datetime | None:
    """Return the newest mark that was surely committed before a moment."""
    at: datetime | None = await db.fetchval(MARK_BEFORE, moment)
    return at


async def changes(db: Database) -> Changes:
    """Return which tables had rows changed or deleted at any time, and how many of them."""
    row = await db.fetchrow(CHANGES)
    assert row is not None
    return Changes(row["deleted"], row["since"])
