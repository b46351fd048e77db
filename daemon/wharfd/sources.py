"""What the core's own endpoints show, gathered from the running daemon."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

from .bench import Benches, Verdict, validate
from .config import Configuration
from .contracts.alerts import FIRING
from .core_routes import CoreSources
from .declare import Migrations
from .doctor import examine
from .errors import ServiceUnavailable
from .front import Sockets
from .health import HealthBoard
from .intake import Intake
from .keystore import rotate_master
from .life import PluginLives
from .sockets import describe
from .supervisor import Supervisor


def own_sources(
    configuration: Configuration,
    sockets: Sockets,
    lives: PluginLives,
    intake: Intake,
    health: HealthBoard,
    supervisor: Supervisor,
    benches: Benches,
) -> CoreSources:
    """Return the sources of `/api/v1/status`, `/api/database/…` and the like."""
    machinery, core = lives.machinery, configuration.core
    addresses = {
        "api": [describe(one, secure=core.http.tls is not None) for one in sockets.api],
        "ingest": [describe(one, secure=core.ingest.tls is not None) for one in sockets.ingest],
    }

    async def firing() -> Sequence[dict[str, Any]]:
        if FIRING.name not in lives.registry.services:
            return ()
        try:
            return await lives.services.get(FIRING)()
        except ServiceUnavailable:
            return ()

    async def judge() -> Verdict:
        return validate(
            await examine(machinery, lives.registry, core),
            core,
            plugins=supervisor.statuses(),
            troubles=(await health.report()).troubles(),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )

    return CoreSources(
        node=machinery.node,
        state_dir=machinery.state.path,
        db=machinery.db,
        declared=lambda: lives.registry.of(Migrations),
        work=machinery.engine.work,
        schedules=machinery.scheduler,
        plugins=supervisor,
        health=health,
        metrics=machinery.metrics,
        cache=machinery.cache,
        audit=machinery.audit,
        clock=machinery.clock,
        addresses=lambda: addresses,
        ingest=intake.figures,
        rotate=lambda dry_run: rotate_master(machinery.db, machinery.vault.masters, dry_run=dry_run),
        alerts=firing,
        examine=lambda: examine(machinery, lives.registry, core),
        benches=benches,
        validate=judge,
    )
