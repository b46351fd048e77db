"""Backups that are proven: daily, encrypted, in two places, with every commit since, and tried weekly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    HealthCheck,
    JobKind,
    Metric,
    Migrations,
    PluginContext,
    Retry,
    Route,
    Schedule,
    hookimpl,
)
from wharfd.contracts.database import DatabaseServer

from . import commands as _commands
from . import config as _config
from . import console as _console
from . import guarding as _guarding
from . import living as _living
from . import routes as _routes
from . import schedules as _schedules
from . import watching as _watching
from . import work as _work

Context = PluginContext[_config.Settings]


@hookimpl
def register_settings() -> type[_config.Settings]:
    """What may stand in `[plugins.backups]`."""
    return _config.Settings


@hookimpl
def register_migrations() -> Migrations:
    """The history of what was done."""
    return Migrations(__name__)


@hookimpl
def register_routes() -> Sequence[Route]:
    """`/api/v1/backups`."""
    return _routes.routes()


@hookimpl
def register_work() -> Sequence[JobKind]:
    """The errands, one at a time."""
    retry = Retry(attempts=3, delays=(60,))
    return [JobKind(name="errand", args=_work.Errand, handler=_work.carry_out, retry=retry, concurrency=1)]


@hookimpl
def register_schedules(settings: _config.Settings) -> Sequence[Schedule]:
    """The daily backup, the weekly drill, the look at the log."""
    return _schedules.schedules(settings)


@hookimpl
def register_health_checks() -> Sequence[HealthCheck]:
    """Whether there is a good backup."""
    return _watching.health_checks()


@hookimpl
def register_metrics() -> Sequence[Metric]:
    """Ages, sizes, times; the state of the log."""
    return _watching.METRICS


@hookimpl
def register_alerts(settings: _config.Settings) -> Sequence[AlertRule]:
    """Backups and drills that are late or failed, a log that waits or has a gap, a key that is only here."""
    return _watching.alerts(settings)


@hookimpl
def register_commands(settings: _config.Settings) -> Sequence[Command]:
    """`wharfd backup`."""
    return _commands.commands(settings)


@hookimpl
async def guard_migration(
    settings: _config.Settings, server: DatabaseServer, state_dir: Path, pending: Sequence[str]
) -> None:
    """Take a backup before tables are changed."""
    await _guarding.back_up_before(settings, server, state_dir, pending)


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """The catalogue, the runs and the drills."""
    return _console.PAGES


@hookimpl
async def provision(ctx: Context) -> None:
    """Find the programs, the places and the keys; remove what a killed daemon left."""
    await _living.open_up(ctx)


@hookimpl
async def run(ctx: Context, task_status: trio.TaskStatus[None]) -> None:
    """Receive the log."""
    await _living.receive(ctx, task_status)
