"""API keys for every caller of wharfd, the integrations they belong to, and a log of what they asked."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    HealthCheck,
    Importer,
    Metric,
    Migrations,
    Provides,
    RetentionRule,
    Route,
    Schedule,
    hookimpl,
)
from wharfd.contracts.access import AUTHENTICATOR

from . import commands as _commands
from . import config as _config
from . import console as _console
from . import parts as _parts
from . import retention as _retention
from . import routes as _routes
from . import schedules as _schedules
from . import watching as _watching
from .importing import IMPORTERS


@hookimpl
def register_settings() -> type[_config.Settings]:
    """What may stand in `[plugins.integrations]`."""
    return _config.Settings


@hookimpl
def register_commands() -> Sequence[Command]:
    """`wharfd keys` and `wharfd integrations`."""
    return _commands.COMMANDS


@hookimpl
def register_services() -> Sequence[Provides]:
    """The core's Authenticator."""
    return [Provides(AUTHENTICATOR, lambda ctx: _parts.parts_of(ctx).authenticator)]


@hookimpl
def register_migrations() -> Migrations:
    """Keys, integrations, nonces, and the usage log by the month."""
    return Migrations(__name__, partitioned=("integrations.usage",))


@hookimpl
def register_routes() -> Sequence[Route]:
    """`/api/v1/keys`, `/api/integrations` and `/api/v1/integrations`, `/api/v1/usage`."""
    return _routes.ROUTES


@hookimpl
def register_schedules() -> Sequence[Schedule]:
    """Nonces are forgotten."""
    return _schedules.SCHEDULES


@hookimpl
def register_health_checks() -> Sequence[HealthCheck]:
    """Whether the usage log keeps up."""
    return _watching.health_checks()


@hookimpl
def register_metrics() -> Sequence[Metric]:
    """Authentications, the keyring, the usage log."""
    return _watching.METRICS


@hookimpl
def register_alerts(settings: _config.Settings) -> Sequence[AlertRule]:
    """Keys that end, replaced keys in use, many refusals."""
    return _watching.alert_rules(settings)


@hookimpl
def register_retention(settings: _config.Settings) -> Sequence[RetentionRule]:
    """The usage log and keys revoked long ago."""
    return _retention.rules(settings)


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """API keys."""
    return _console.PAGES


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: _parts.Context) -> None:
    """Load the keys of the vault."""
    ctx.state["parts"] = await _parts.make_parts(ctx)


@hookimpl
async def run(ctx: _parts.Context, task_status: trio.TaskStatus[None]) -> None:
    """Hear of changed keys and write the usage log, also once more at the end."""
    parts = _parts.parts_of(ctx)
    async with trio.open_nursery() as nursery:
        await nursery.start(parts.revocations.run)
        await nursery.start(parts.usage.run)
        task_status.started()
