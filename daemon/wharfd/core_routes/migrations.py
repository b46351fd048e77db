"""`/api/database/migrate`: what the database has and lacks, what was done to it, and adding what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ..db import maintenance, migrations
from ..declare import Route
from ..http import Request
from .envelope import Envelope
from .sources import CoreSources

_SHOWN = 50
_MIGRATE_SECONDS = 3600.0


class PendingMigration(msgspec.Struct, kw_only=True):
    """A migration that is not applied yet."""

    plugin: str
    name: str


class AppliedMigration(msgspec.Struct, kw_only=True, rename="camel"):
    """A migration the database has."""

    plugin: str
    name: str
    applied_at: datetime
    milliseconds: float
    wharfd_version: str


class MigrationState(msgspec.Struct, kw_only=True, rename="camel"):
    """Where the database stands. `refused` names plugins whose migrations cannot be applied, and why."""

    up_to_date: bool
    pending: list[PendingMigration]
    refused: dict[str, str]
    history: list[AppliedMigration]
    maintenance: list[maintenance.MaintenanceEntry]


class Migrate(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for the pending migrations to be applied."""

    action: Literal["migrate"]


class MigrateResult(msgspec.Struct, kw_only=True):
    """What was applied, and what failed."""

    applied: list[AppliedMigration]
    failed: dict[str, str]


async def show_migrations(ctx: CoreSources, request: Request) -> Envelope[MigrationState]:
    """Show what is applied, what is pending and what maintenance was done."""
    plan = await migrations.plan(ctx.db, ctx.declared())
    state = MigrationState(
        up_to_date=not plan.pending and not plan.refused,
        pending=[PendingMigration(plugin=one.plugin, name=one.name) for one in plan.pending],
        refused={plugin: str(error) for plugin, error in plan.refused.items()},
        history=_applied(await migrations.history(ctx.db)),
        maintenance=await maintenance.log(ctx.db, limit=_SHOWN),
    )
    return Envelope(data=state, timestamp=ctx.clock.now())


async def migrate(ctx: CoreSources, request: Request) -> Envelope[MigrateResult]:
    """Apply the pending migrations."""
    done = await migrations.apply(ctx.db, ctx.declared())
    fresh = {(one.plugin, one.name) for one in done.applied}
    applied = [one for one in _applied(await migrations.history(ctx.db)) if (one.plugin, one.name) in fresh]
    failed = {plugin: str(error) for plugin, error in done.failed.items()}
    detail = {"applied": [f"{one.plugin}/{one.name}" for one in applied], "failed": sorted(failed)}
    await ctx.note(request, "database.migrated", "database", detail)
    return Envelope(data=MigrateResult(applied=applied, failed=failed), timestamp=ctx.clock.now())


def _applied(history: Sequence[migrations.AppliedMigration]) -> list[AppliedMigration]:
    return [
        AppliedMigration(
            plugin=one.plugin,
            name=one.name,
            applied_at=one.applied_at,
            milliseconds=round(one.duration_seconds * 1000, 3),
            wharfd_version=one.wharfd_version,
        )
        for one in history
    ]


ROUTES = [
    Route(
        method="GET",
        path="/api/database/migrate",
        handler=show_migrations,
        scope="system:read",
        returns=Envelope[MigrationState],
    ),
    Route(
        method="POST",
        path="/api/database/migrate",
        handler=migrate,
        scope="system:write",
        body=Migrate,
        returns=Envelope[MigrateResult],
        timeout_seconds=_MIGRATE_SECONDS,
    ),
]
