"""The shared machinery of one daemon, opened once, and the view of it that each plugin gets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import trio

from .audit import Audit
from .cache import Cache
from .clock import Clock
from .config import CoreSettings
from .context import Hooks, PluginContext, Plugins, Services
from .db import Bridge, Database, Transaction
from .declare import JobKind, Metric
from .events import EventBus
from .http.outbound import NetworkPolicy, OutboundClient
from .keystore import open_vault
from .loading import LoadedPlugin
from .metrics import Metrics
from .ratelimit import RateLimiter
from .registry import Registry
from .schedule import Scheduler
from .secrets import Secret
from .secrets.vault import Vault
from .state import StateFolder
from .work import Jobs, WorkEngine

if TYPE_CHECKING:
    from .redis.link import RedisLink

NAMESPACE = "wharfd"


@dataclass(frozen=True)
class Machinery:
    """What all plugins share."""

    node: str
    host: str
    db: Database
    redis: RedisLink | None
    cache: Cache
    limits: RateLimiter
    vault: Vault
    audit: Audit
    engine: WorkEngine
    bus: EventBus
    scheduler: Scheduler
    outbound: OutboundClient
    metrics: Metrics
    clock: Clock
    state: StateFolder

    def context(
        self,
        plugin: LoadedPlugin,
        registry: Registry,
        *,
        nursery: trio.Nursery | None,
        services: Services,
        plugins: Plugins,
        hooks: Hooks,
    ) -> PluginContext[Any]:
        """Return the plugin's view, bound to its name, for one life of it."""
        name = plugin.name
        work = self.engine.work.bound(name)
        kinds = {kind.args: kind for _, kind in registry.of(JobKind, name)}
        return PluginContext(
            name=name,
            settings=plugin.settings,
            log=structlog.get_logger(plugin=name),
            db=self.db.named(name),
            cache=self.cache.named(name),
            work=work,
            jobs=Jobs(name, work, kinds),
            events=self.bus.events(name),
            services=services,
            plugins=plugins,
            hooks=hooks,
            metrics=self.metrics.for_plugin(name, [metric for _, metric in registry.of(Metric, name)]),
            http=self.outbound,
            secrets=self.vault.for_schema(name),
            audit=self.audit,
            limits=self.limits.named(name),
            clock=self.clock,
            state_dir=self.state.of_plugin(name),
            node=self.host,
            nursery=nursery,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what the machinery itself does all the time, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.cache.run)
            await nursery.start(self.audit.run_sealer)
            await nursery.start(self.engine.run)
            nursery.start_soon(self.bus.run)
            nursery.start_soon(self.vault.keep_fresh)
            task_status.started()


def _master_keys(settings: CoreSettings) -> Secret | None:
    """Return the configured master keys, the current one first, as the vault reads them: one a line."""
    if settings.secrets.key is None:
        return None
    keys = (settings.secrets.key, *settings.secrets.old_keys)
    return Secret("\n".join(key.reveal() for key in keys))


@asynccontextmanager
async def open_machinery(
    bridge: Bridge,
    db: Database,
    settings: CoreSettings,
    state: StateFolder,
    *,
    node: str,
) -> AsyncIterator[Machinery]:
    """Open everything that stands on a migrated database, for as long as the block runs.

    Raises `MasterKeyError` when the database was sealed with another key. Redis may be away.
    """
    async with AsyncExitStack() as stack:
        vault = await open_vault(db, configured=_master_keys(settings), key_path=state.master_key)
        redis = None
        if settings.redis.url is not None:
            from .redis.link import open_redis

            redis = await stack.enter_async_context(open_redis(bridge, settings.redis.url.reveal()))
        seal_key = await vault.fingerprint("wharfd.cache", "cache")
        audit = Audit(db)

        async def record(
            tx: Transaction, actor: str, action: str, subject: str, detail: dict[str, Any]
        ) -> None:
            await audit.record(tx, actor=actor, action=action, subject=subject, detail=detail)

        engine = WorkEngine(db, node=node, audit=record)
        yield Machinery(
            node=node,
            host=settings.daemon.node or socket.gethostname(),
            db=db,
            redis=redis,
            cache=Cache(redis, namespace=NAMESPACE, seal_key=seal_key),
            limits=RateLimiter(redis, namespace=NAMESPACE, database=db),
            vault=vault,
            audit=audit,
            engine=engine,
            bus=EventBus(db, engine, record),
            scheduler=Scheduler(db, engine, record),
            outbound=await stack.enter_async_context(OutboundClient(NetworkPolicy())),
            metrics=Metrics(),
            clock=Clock(),
            state=state,
        )
