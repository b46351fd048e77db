"""SIGHUP: read the configuration again, apply what can change while running, refuse the rest by name.

A plugin whose changed settings are all `live` is restarted alone; plugins can be enabled and disabled. What
is wrong or needs a restart leaves the daemon on what it has, and says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
import trio

from .config import Configuration
from .config.options import field_types
from .db.migrations import apply
from .declare import IngestRoute, Migrations
from .errors import MigrationError
from .front import Front
from .life import PluginLives
from .registry import Registry
from .supervisor import Supervisor

log = structlog.get_logger("wharfd.reload")


@dataclass
class Changes:
    """What a reload did and what it left."""

    applied: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def changed_fields(old: Any, new: Any, where: str = "") -> list[tuple[str, bool]]:
    """Return (path, live) of every setting that differs between two settings of the same class."""
    found: list[tuple[str, bool]] = []
    for one in dataclasses.fields(old):
        before, after = getattr(old, one.name), getattr(new, one.name)
        path = f"{where}.{one.name}" if where else one.name
        kind = field_types(cast(Any, type(old)))[one.name]
        if before == after:
            continue
        if dataclasses.is_dataclass(kind) and type(before) is type(after):
            found += changed_fields(before, after, path)
        else:
            found.append((path, bool(one.metadata.get("live"))))
    return found


class Reloader:
    """Changes a running daemon into what a new configuration says, as far as that is possible."""

    def __init__(
        self,
        configuration: Configuration,
        lives: PluginLives,
        supervisor: Supervisor,
        front: Front,
        plugins: trio.Nursery,
    ) -> None:
        self.configuration = configuration
        self._lives = lives
        self._supervisor = supervisor
        self._front = front
        self._plugins = plugins

    async def change_to(self, new: Configuration, registry: Registry) -> Changes:
        """Apply the difference; both arguments are good and belong together."""
        changes = Changes()
        for path, live in changed_fields(self.configuration.core, new.core):
            (changes.applied if live else changes.refused).append(path)
        old_names, new_names = set(self.configuration.enabled), set(new.enabled)
        for name in sorted(old_names - new_names):
            await self._stop(name)
            self._supervisor.remove(name)
            changes.applied.append(f"plugins.{name} disabled")
        arriving = [name for name in registry.order if name not in old_names]
        arriving = [name for name in arriving if await self._take_in(name, registry, changes)]
        if old_names != new_names:
            self._lives.registry.order = registry.order
            self._front.serve_routes()
        for name in arriving:
            await self._start(name, new)
            changes.applied.append(f"plugins.{name} enabled")
        for name in sorted(old_names & new_names):
            await self._change_settings(name, new, registry, changes)
        self.configuration = dataclasses.replace(
            new, core=_merged(self.configuration.core, new.core, changes.refused)
        )
        return changes

    async def _change_settings(
        self, name: str, new: Configuration, registry: Registry, changes: Changes
    ) -> None:
        mine, theirs = self._lives.host.plugins[name], registry.host.plugins[name]
        if mine.settings is None or theirs.settings is None or mine.broken:
            return
        differing = changed_fields(mine.settings, theirs.settings, f"plugins.{name}")
        fixed = [path for path, live in differing if not live]
        if fixed:
            changes.refused += fixed
        elif differing:
            mine.settings = theirs.settings
            await self._stop(name)
            await self._start(name, new)
            changes.applied += [path for path, _ in differing]

    async def _take_in(self, name: str, registry: Registry, changes: Changes) -> bool:
        """Bring the database up to a plugin that was not enabled before, and its routes into place."""
        migrated = await apply(self._lives.machinery.db, registry.of(Migrations, name))
        failure: MigrationError | None = migrated.failed.get(name)
        if failure is not None:
            changes.refused.append(f"plugins.{name}: {failure}")
            return False
        known = self._lives.host.plugins.get(name)
        if known is None or known.module is None:
            self._lives.host.add(registry.host.plugins[name])
            for _, route in registry.of(IngestRoute, name):
                self._lives.ingest.mount(route, None, plugin=name)
                self._lives.ingest.suspend(name)
        return True

    async def _start(self, name: str, new: Configuration) -> None:
        plugin = self._lives.host.plugins[name]
        if plugin.error is not None:
            self._supervisor.add_broken(name, plugin.origin, plugin.error)
            return
        life = self._lives.of(name, new)
        await self._plugins.start(self._supervisor.add(life).supervise)

    async def _stop(self, name: str) -> None:
        await self._lives.drain(name)
        await self._supervisor.stop(name)


def _merged(old: Any, new: Any, refused: list[str], where: str = "") -> Any:
    """Return the core settings that are in force: the new ones but for those that were refused."""
    values = {}
    for one in dataclasses.fields(old):
        before, after = getattr(old, one.name), getattr(new, one.name)
        path = f"{where}.{one.name}" if where else one.name
        if dataclasses.is_dataclass(before) and type(before) is type(after):
            values[one.name] = _merged(before, after, refused, path)
        else:
            values[one.name] = before if path in refused else after
    return type(old)(**values)
