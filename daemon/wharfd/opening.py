"""Opening the database: the server that is given or the embedded one, its pools, its migrations."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
import trio

from .bench import Targets
from .config import CoreSettings
from .contracts.database import DatabaseServer, Role
from .db import Bridge, Database, DatabaseSettings, open_database
from .db.embedded import Binaries, Confinement, EmbeddedPostgres, Server, choose_confinement, find_binaries
from .db.migrations import Plan, apply
from .declare import Migrations
from .registry import Registry
from .state import StateFolder

log = structlog.get_logger("wharfd.opening")


def node_name(core: CoreSettings) -> str:
    """Return what tells this daemon from others on the same database: its name and its process."""
    return f"{core.daemon.node or socket.gethostname()}-{os.getpid()}"


class GivenServer:
    """A PostgreSQL somebody else runs. Implements `contracts.database.DatabaseServer`."""

    data_dir: Path | None = None

    def __init__(self, urls: Mapping[Role, str], bin_dir: Path | None) -> None:
        self._urls = urls
        self._bin_dir = bin_dir

    def dsn(self, role: Role) -> str:
        """Return the URL to connect with."""
        return self._urls[role]

    async def programs(self) -> tuple[Binaries, Confinement]:
        """Return PostgreSQL's programs on this machine, and how to start a server with them."""
        confinement = await choose_confinement()
        return await find_binaries(self._bin_dir, confinement), confinement


class EmbeddedServer:
    """Our own PostgreSQL. Implements `contracts.database.DatabaseServer`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def data_dir(self) -> Path | None:
        """The data folder."""
        return self._server.data_dir

    def dsn(self, role: Role) -> str:
        """Return the URL to connect with."""
        return self._server.dsn(role)

    async def programs(self) -> tuple[Binaries, Confinement]:
        """Return the programs that fit the server, and how it is started."""
        return self._server.binaries, self._server.confinement


@asynccontextmanager
async def opened_database(
    bridge: Bridge, core: CoreSettings, state: StateFolder, ground: trio.Nursery
) -> AsyncIterator[tuple[Database, GivenServer | EmbeddedServer]]:
    """Start the embedded PostgreSQL unless a server is given, and open the pools.

    Raises `DatabaseUnavailable`, `DatabaseUnsuitable` or `EmbeddedPostgresError`, each a sentence.
    """
    settings = core.database
    async with AsyncExitStack() as stack:
        if settings.url is not None:
            url = settings.url.reveal()
            owner_url = settings.owner_url.reveal() if settings.owner_url else None
            owner = owner_url or url
            urls: dict[Role, str] = {"app": url, "owner": owner, "backup": owner, "superuser": owner}
            server: GivenServer | EmbeddedServer = GivenServer(urls, settings.bin_dir)
        else:
            embedded = EmbeddedPostgres(
                state.path, bin_dir=settings.bin_dir, log=log, settings=settings.settings
            )
            server = EmbeddedServer(await stack.enter_async_context(embedded.running(ground)))
            url, owner_url = server.dsn("app"), server.dsn("owner")
        pools = open_database(bridge, _pool_settings(core, url, owner_url))
        yield await stack.enter_async_context(pools), server


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


def bench_targets(core: CoreSettings, server: DatabaseServer) -> Targets:
    """Return where a bench finds this daemon's PostgreSQL and Redis."""
    return Targets(
        url=server.dsn("app"),
        owner_url=server.dsn("owner"),
        pgbouncer=core.database.pgbouncer,
        redis_url=core.redis.url.reveal() if core.redis.url is not None else None,
    )


async def migrate(
    db: Database, registry: Registry, server: DatabaseServer | None = None, state: StateFolder | None = None
) -> None:
    """Bring the database up to date; a plugin whose migrations fail is broken, and the others run.

    Plugins that guard migrations (backups) are asked before anything changes. Raises `MigrationError` when
    the core's own fail, and what a guard raised.
    """

    async def guarded(plan: Plan) -> None:
        if plan.fresh or server is None or state is None:
            return
        pending = [str(migration) for migration in plan.pending]
        for name, plugin in registry.host.plugins.items():
            if plugin.broken or not registry.host.implements(name, "guard_migration"):
                continue
            await registry.host.call(
                name,
                "guard_migration",
                settings=plugin.settings,
                server=server,
                state_dir=state.of_plugin(name),
                pending=pending,
            )

    migrated = await apply(db, registry.of(Migrations), before=guarded)
    for plugin, error in migrated.failed.items():
        registry.host.plugins[plugin].error = str(error)
    if migrated.applied:
        log.info("migrated", applied=[f"{m.plugin}/{m.name}" for m in migrated.applied])
