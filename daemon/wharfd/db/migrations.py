"""Bringing the database to the shape the code wants: plan, apply, never backwards.

The files are found and checked in `discovery`, rights are given in `roles`, partitions made in `partitions`.
A plugin whose migrations are wrong is reported by name and left out; only the core's own stop everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from time import perf_counter

import asyncpg
import structlog
import trio

from ..declare import Migrations
from ..errors import DatabaseUnavailable, MigrationError, StatementTimeout, WharfdError
from . import partitions, roles
from .core import CORE
from .database import Database
from .discovery import Migration, discover
from .queries import Queries
from .session import Session
from .statements import quoted, sql

Declared = Sequence[tuple[str, Migrations]]

_log = structlog.get_logger("wharfd.db.migrations")
_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_SECONDS = 1.0

IS_FRESH = sql("migrations_is_fresh", "SELECT to_regclass('wharfd.migrations') IS NULL")
LIST = sql(
    "migrations_list",
    """SELECT plugin, number, name, checksum, applied_at, duration_seconds, wharfd_version
         FROM wharfd.migrations ORDER BY applied_at, plugin, number""",
)
RECORD = sql(
    "migrations_record",
    """INSERT INTO wharfd.migrations (plugin, number, name, checksum, duration_seconds, wharfd_version)
       VALUES ($1, $2, $3, $4, $5, $6)""",
)
# Waiting for another daemon's migrations may take long, so the lock timeout is off for this one wait.
TAKE_LOCK = sql(
    "migrations_take_lock",
    """SET lock_timeout = 0;
       SELECT pg_advisory_lock(hashtextextended('wharfd.migrations', 0));
       RESET lock_timeout""",
)
XACT = sql("migrations_transaction_id", "SELECT pg_current_xact_id()::text")


@dataclass(frozen=True)
class AppliedMigration:
    """One migration the database has."""

    plugin: str
    number: int
    name: str
    checksum: str
    applied_at: datetime
    duration_seconds: float
    wharfd_version: str


@dataclass(frozen=True)
class Plan:
    """What `apply` would do: the pending migrations in order, and the plugins that are refused."""

    fresh: bool
    pending: tuple[Migration, ...]
    refused: Mapping[str, MigrationError]


@dataclass(frozen=True)
class Migrated:
    """What `apply` did. A plugin in `failed` must not be started."""

    applied: tuple[Migration, ...]
    failed: Mapping[str, MigrationError]
    partitions: tuple[str, ...]


async def history(database: Queries) -> list[AppliedMigration]:
    """Return every applied migration, oldest first; empty on a fresh database."""
    if await database.fetchval(IS_FRESH):
        return []
    return [AppliedMigration(**dict(row)) for row in await database.fetch(LIST)]


def pending_of(found: Sequence[Migration], applied: Mapping[int, AppliedMigration]) -> list[Migration]:
    """Return what one plugin has still to apply; raises `MigrationError` when code and database disagree."""
    known = {migration.number: migration for migration in found}
    newest = max(applied, default=0)
    for number, row in sorted(applied.items()):
        migration = known.get(number)
        if migration is None and number > max(known, default=0):
            raise MigrationError(
                f"{row.plugin}: the database is newer than this wharfd: it has {applied[newest].name}, "
                f"the code ends at {found[-1].name}; run wharfd {applied[newest].wharfd_version} or newer, "
                "or restore a backup taken before the upgrade"
            )
        if migration is None:
            raise MigrationError(f"{row.plugin}: {row.name} was applied but its file is gone; put it back")
        if migration.checksum != row.checksum or migration.name != row.name:
            raise MigrationError(
                f"{row.plugin}: {migration.name}.sql was changed after it was applied as {row.name}; "
                "put the old file back and write the change as a new migration"
            )
    pending = [migration for migration in found if migration.number not in applied]
    if pending and pending[0].number < newest:
        raise MigrationError(
            f"{pending[0].plugin}: {pending[0].name}.sql comes too late: {applied[newest].name} is applied "
            "already; give it the next free number"
        )
    return pending


async def plan(database: Queries, declared: Declared, *, allow_holes: bool = False) -> Plan:
    """Say what is pending, changing nothing. `declared` lists the plugins in start order, after the core.

    Raises `MigrationError` for the core's own migrations; a plugin's are in `Plan.refused`.
    """
    done: dict[str, dict[int, AppliedMigration]] = {}
    for row in (rows := await history(database)):
        done.setdefault(row.plugin, {})[row.number] = row
    pending: list[Migration] = []
    refused: dict[str, MigrationError] = {}
    for plugin, migrations in _with_core(declared):
        try:
            found = discover(plugin, migrations.package, allow_holes=allow_holes)
            pending += pending_of(found, done.get(plugin, {}))
        except MigrationError as error:
            if plugin == CORE[0]:
                raise
            refused[plugin] = error
    return Plan(fresh=not rows, pending=tuple(pending), refused=refused)


def _with_core(declared: Declared) -> Declared:
    if any(name == CORE[0] and migrations != CORE[1] for name, migrations in declared):
        raise MigrationError(f"a plugin cannot be called {CORE[0]}: that is the core's own schema")
    return [CORE, *(pair for pair in declared if pair[0] != CORE[0])]


@asynccontextmanager
async def _locked(owner: Database) -> AsyncIterator[Session]:
    async with owner.session() as session:
        await session.execute(TAKE_LOCK)
        yield session


async def apply(
    database: Database,
    declared: Declared,
    *,
    before: Callable[[Plan], Awaitable[None]] | None = None,
    at: datetime | None = None,
    allow_holes: bool = False,
) -> Migrated:
    """Apply what is pending as the owner role, one daemon at a time, each file in its own transaction.

    Then the app role gets its rights and the declared tables their partitions. `before(plan)` is awaited
    first when there is something to do (a backup); when it raises, nothing is changed. A plugin's failure
    is in `Migrated.failed` and skips the rest of that plugin; the core's raises `MigrationError`.
    """
    app_role = await roles.current_role(database)
    async with _locked(database.owner) as session:
        todo = await plan(session, declared, allow_holes=allow_holes)
        failed = dict(todo.refused)
        if todo.pending and before is not None:
            await before(todo)
        applied: list[Migration] = []
        for migration in todo.pending:
            if migration.plugin in failed:
                continue
            try:
                await _apply_one(session, migration)
            except MigrationError as error:
                if migration.plugin == CORE[0]:
                    raise
                failed[migration.plugin] = error
                _log.error("migration_failed", plugin=migration.plugin, error=str(error))
            else:
                applied.append(migration)
        made: list[str] = []
        for plugin, migrations in _with_core(declared):
            if plugin in failed:
                continue
            try:
                async with session.transaction() as tx:
                    made += await partitions.ensure(tx, migrations.partitioned, at=at)
                    await roles.grant(tx, app_role, plugin, migrations.keep_forever)
            except (asyncpg.PostgresError, MigrationError) as error:
                problem = MigrationError(f"{plugin}: rights or partitions could not be set up: {error}")
                if plugin == CORE[0]:
                    raise problem from error
                failed[plugin] = problem
    return Migrated(applied=tuple(applied), failed=failed, partitions=tuple(made))


async def _apply_one(session: Session, migration: Migration) -> None:
    for attempt in range(1, _LOCK_ATTEMPTS + 1):
        try:
            await _attempt(session, migration)
            return
        except asyncpg.LockNotAvailableError as error:
            # Somebody uses the table. Waiting longer in the queue would block everybody behind us.
            if attempt == _LOCK_ATTEMPTS:
                raise MigrationError(f"{migration} failed: the table stayed locked by others") from error
            _log.warning("migration_waits_for_lock", migration=str(migration), attempt=attempt)
            await trio.sleep(_LOCK_PAUSE_SECONDS * attempt)
        except MigrationError:
            raise
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            DatabaseUnavailable,
            StatementTimeout,
        ) as error:
            raise MigrationError(f"{migration} failed: {_explained(error, migration.text)}") from error


async def _attempt(session: Session, migration: Migration) -> None:
    started = perf_counter()
    schema = quoted(migration.plugin)
    prepare = f"CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path = {schema}"
    async with session.transaction() as tx:
        await tx.execute(sql("migrations_prepare", prepare))
        before = await tx.fetchval(XACT)
        await tx.execute(sql(f"migration.{migration.plugin}.n{migration.name}", migration.text))
        if await tx.fetchval(XACT) != before:
            raise MigrationError(f"{migration} failed: it ended its own transaction")
        seconds = perf_counter() - started
        await tx.execute(
            RECORD,
            migration.plugin,
            migration.number,
            migration.name,
            migration.checksum,
            seconds,
            version("wharfd"),
        )
    _log.info("migration_applied", migration=str(migration), seconds=round(seconds, 3))


def _explained(error: Exception, text: str) -> str:
    position = getattr(error, "position", None)
    if isinstance(error, WharfdError) or not position:
        return str(error)
    line = text.count("\n", 0, int(position)) + 1
    return f"line {line}: {error}"
