"""Opening the database: the server that is given or the embedded one, its pools, its migrations."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import trio

from .config import CoreSettings
from .db import Bridge, Database, DatabaseSettings, open_database
from .db.embedded import EmbeddedPostgres
from .db.migrations import apply
from .declare import Migrations
from .registry import Registry
from .state import StateFolder

log = structlog.get_logger("wharfd.opening")


def node_name(core: CoreSettings) -> str:
    """Return what tells this daemon from others on the same database: its name and its process."""
    return f"{core.daemon.node or socket.gethostname()}-{os.getpid()}"


@asynccontextmanager
async def opened_database(
    bridge: Bridge, core: CoreSettings, state: StateFolder, ground: trio.Nursery
) -> AsyncIterator[Database]:
    """Start the embedded PostgreSQL unless a server is given, and open the pools.

    Raises `DatabaseUnavailable`, `DatabaseUnsuitable` or `EmbeddedPostgresError`, each a sentence.
    """
    settings = core.database
    async with AsyncExitStack() as stack:
        if settings.url is not None:
            url = settings.url.reveal()
            owner_url = settings.owner_url.reveal() if settings.owner_url else None
        else:
            embedded = EmbeddedPostgres(state.path, bin_dir=settings.bin_dir, log=log)
            server = await stack.enter_async_context(embedded.running(ground))
            url, owner_url = server.dsn("app"), server.dsn("owner")
        yield await stack.enter_async_context(open_database(bridge, _pool_settings(core, url, owner_url)))


def _pool_settings(core: CoreSettings, url: str, owner_url: str | None) -> DatabaseSettings:
    settings = core.database
    return DatabaseSettings(
        url=url,
        owner_url=owner_url,
        read_url=settings.read_url.reveal() if settings.read_url else None,
        pgbouncer=settings.pgbouncer,
        pool_size=settings.pool_size,
        acquire_timeout_seconds=settings.acquire_timeout.total_seconds(),
        statement_timeout_seconds=settings.statement_timeout.total_seconds(),
        slow_statement_seconds=settings.slow_query.total_seconds(),
    )


async def migrate(db: Database, registry: Registry) -> None:
    """Bring the database up to date; a plugin whose migrations fail is broken, and the others run.

    Raises `MigrationError` when the core's own fail.
    """
    migrated = await apply(db, registry.of(Migrations))
    for plugin, error in migrated.failed.items():
        registry.host.plugins[plugin].error = str(error)
    if migrated.applied:
        log.info("migrated", applied=[f"{m.plugin}/{m.name}" for m in migrated.applied])
