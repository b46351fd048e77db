"""Keep rows as long as the law wants and no longer: archived, read back, and only then deleted."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    Folder,
    JobKind,
    Metric,
    Migrations,
    Packing,
    PluginContext,
    Provides,
    Retry,
    Route,
    Schedule,
    hookimpl,
    open_place,
)
from wharfd.contracts.archives import COLD

from . import archiving as _archiving
from . import cold as _cold
from . import commands as _commands
from . import config as _config
from . import console as _console
from . import routes as _routes
from . import store as _store
from . import watching as _watching
from . import work as _work

Context = PluginContext[_config.Settings]


@hookimpl
def register_settings() -> type[_config.Settings]:
    """What may stand in `[plugins.retention]`."""
    return _config.Settings


@hookimpl
def register_services() -> Sequence[Provides]:
    """The archive, for queries that span hot and cold rows."""
    return [Provides(COLD, _cold.Cold)]


@hookimpl
def register_migrations() -> Migrations:
    """Units, runs, holds."""
    return Migrations(__name__)


@hookimpl
def register_routes() -> Sequence[Route]:
    """`/api/v1/retention`, `/api/v1/archive`, and the old way to run it."""
    return _routes.routes()


@hookimpl
def register_work() -> Sequence[JobKind]:
    """A run, one at a time."""
    retry = Retry(attempts=5, delays=(60, 600))
    return [JobKind(name="nightly", args=_work.Run, handler=_work.carry_out, retry=retry, concurrency=1)]


@hookimpl
def register_schedules(settings: _config.Settings) -> Sequence[Schedule]:
    """Every night."""
    return [Schedule(name="nightly", cron=settings.at, handler=_work.every_night)]


@hookimpl
def register_metrics() -> Sequence[Metric]:
    """Runs and rows."""
    return _watching.METRICS


@hookimpl
def register_alerts() -> Sequence[AlertRule]:
    """Runs that are late, failed or stopped; archives that are stuck; holds that end."""
    return _watching.alerts()


@hookimpl
def register_commands() -> Sequence[Command]:
    """`wharfd retention` and `wharfd archive`."""
    return _commands.COMMANDS


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """The plan, the holds and the archive."""
    return _console.PAGES


@hookimpl
async def provision(ctx: Context) -> None:
    """Open the places of the archive, and note the time."""
    settings = ctx.settings
    ctx.state["archive"] = _archiving.Archive(
        Folder(settings.folder or ctx.state_dir / "archive"),
        None if settings.second is None else open_place(settings.second),
        Packing(settings.recipients, level=settings.compression),
        settings.identity,
    )
    now, _ = await _store.clock(ctx.db.owner)
    ctx.state["clock"] = (now, monotonic())
