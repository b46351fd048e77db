"""A rehearsal of the start: this daemon on a copy of its database, without any plugin's own life."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import monotonic

import trio

from .bench import Benches
from .config import Configuration, CoreSettings, SecretsSettings, hide_secrets
from .contracts.daemon import Rehearsed
from .contracts.database import DatabaseServer
from .core_routes import core_routes
from .db import Bridge
from .db.bridge import unwrapped
from .db.migrations import apply
from .declare import Migrations
from .errors import WharfdError
from .front import Front, Sockets
from .http.outbound import NetworkPolicy, OutboundClient
from .intake import open_intake
from .keystore import prove_sealed
from .life import PluginLives
from .machinery import Machinery, open_machinery
from .opening import bench_targets, opened_database
from .registry import Registry
from .secrets import Secret
from .sources import own_sources
from .state import StateFolder, own_state_folder
from .supervisor import Supervisor
from .systemd import Notifier
from .watching import open_health

_LONGEST_SECONDS = 120.0


class DaemonRehearsal:
    """Implements `contracts.daemon.Rehearsal` for the running daemon."""

    def __init__(
        self, bridge: Bridge, configuration: Configuration, registry: Registry, state: StateFolder
    ) -> None:
        self._bridge, self._configuration, self._registry = bridge, configuration, registry
        self._master_key = state.master_key

    async def rehearse(self, url: str, folder: Path) -> Rehearsed:
        """Start on the database at `url` with `folder` as state, look, and stop."""
        began = monotonic()
        with unwrapped(), own_state_folder(folder) as state, trio.fail_after(_LONGEST_SECONDS):
            core = await trio.to_thread.run_sync(self._settings, url)
            async with (
                trio.open_nursery() as ground,
                opened_database(self._bridge, core, state, ground) as (db, server),
            ):
                migrated = await apply(db, self._registry.of(Migrations))
                for error in migrated.failed.values():
                    raise error
                async with open_machinery(self._bridge, db, core, state, node="rehearsal") as machinery:
                    opened = await prove_sealed(db, machinery.vault)
                    audit = await machinery.audit.verify()
                    if audit.broken is not None:
                        raise WharfdError(f"the audit log was changed: {audit.broken.reason}")
                    ready = await self._serve(core, server, machinery)
                ground.cancel_scope.cancel()
        applied = [f"{one.plugin}/{one.name}" for one in migrated.applied]
        return Rehearsed(ready, round(monotonic() - began, 3), applied, opened, audit.checked)

    def _settings(self, url: str) -> CoreSettings:
        core = self._configuration.core
        secrets = core.secrets
        if secrets.key is None and self._master_key.exists():
            secrets = SecretsSettings(key=Secret(self._master_key.read_text()))
        given = Secret(url)
        database = replace(
            core.database, url=given, owner_url=given, read_url=None, pgbouncer=False, settings={}
        )
        return replace(
            core,
            http=replace(core.http, bind="127.0.0.1:0", tls=None),
            ingest=replace(core.ingest, bind="127.0.0.1:0", tls=None, spool=False),
            database=database,
            redis=replace(core.redis, url=None),
            secrets=secrets,
        )

    async def _serve(self, core: CoreSettings, server: DatabaseServer, machinery: Machinery) -> int:
        """Open both listeners and return what `/health/ready` answers."""
        lives, supervisor = PluginLives(machinery, self._registry), Supervisor()
        configuration = replace(self._configuration, core=core)
        with Sockets.open(core, {}, Notifier(None)) as sockets:
            async with open_intake(core.ingest, lives) as intake, trio.open_nursery() as nursery:
                health = open_health(lives, supervisor, intake.keeper)
                benches = Benches(machinery.db, lambda: bench_targets(core, server))
                sources = own_sources(configuration, sockets, lives, intake, health, supervisor, benches)
                routes = core_routes(sources)
                signing_key = await machinery.vault.fingerprint("wharfd.http", "signing")
                front = Front(core, sockets, lives, intake, health, routes, signing_key)
                await nursery.start(front.serve)
                async with OutboundClient(NetworkPolicy(allow_networks=("127.0.0.0/8",))) as client:
                    answer = await client.request("GET", f"{front.api_urls[0]}/health/ready", deadline=30.0)
                await front.drain()
                nursery.cancel_scope.cancel()
        return answer.status


class StartedWith:
    """Implements `contracts.daemon.ConfigurationFile`."""

    def __init__(self, path: Path | None, configuration: Configuration, registry: Registry) -> None:
        self._path, self._configuration, self._registry = path, configuration, registry

    def harmless(self) -> tuple[str, str] | None:
        """Return the file's name and its text with every secret in it hidden; None without a file."""
        if self._path is None:
            return None
        typed = [plugin.settings for plugin in self._registry.host.plugins.values()]
        try:
            text = self._path.read_text(encoding="utf-8")
            return str(self._path.absolute()), hide_secrets(text, [self._configuration.core, *typed])
        except (OSError, ValueError) as error:
            raise WharfdError(f"{self._path} cannot be read: {type(error).__name__}") from None
