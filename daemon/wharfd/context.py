"""What a plugin sees of the daemon: one `PluginContext`, handed to every hook and handler.

It holds the plugin's own settings, log and metrics and the shared machinery, already bound to the plugin's
name. It holds no way to the plugin manager, to other plugins' contexts or to the whole configuration.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import structlog
    import trio

    from .audit import Audit
    from .cache import Cache
    from .clock import Clock
    from .contracts.services import ServiceKey
    from .db import Database
    from .events import Events
    from .http.outbound import OutboundClient
    from .metrics import PluginMetrics
    from .ratelimit import RateLimiter
    from .secrets.vault import Vault
    from .work import Jobs, Work

S = TypeVar("S")
T = TypeVar("T")


class Services(Protocol):
    """Finds the services of other plugins."""

    def get(self, key: ServiceKey[T]) -> T:
        """Return the service; raises `ServiceUnavailable` while its plugin is not running."""
        ...

    def find(self, key: ServiceKey[T]) -> T | None:
        """Return the service, or None while it is not available or not installed."""
        ...


class Plugins(Protocol):
    """What all plugins declared, and a way to call what they declared with their own context.

    For plugins that work on others' declarations: alerts, retention, console, the event catalogue.
    """

    def declared(self, kind: type[T]) -> list[tuple[str, T]]:
        """Return (plugin, declaration) for every declaration of that kind, the core's own first."""
        ...

    async def call(self, plugin: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(ctx, *args)` with that plugin's context and await it if need be.

        Raises `ServiceUnavailable` while the plugin is not running; what the function raises passes through.
        """
        ...


class Hooks(Protocol):
    """Calls the extension points that this plugin added with `register_hookspecs`."""

    async def call(self, name: str, **arguments: Any) -> list[Any]:
        """Call the hook on every running plugin in start order; an exception of one is contained."""
        ...


@dataclass(frozen=True)
class PluginContext(Generic[S]):
    """One plugin's view of the daemon. `settings` is of the plugin's own type."""

    name: str
    settings: S
    log: structlog.stdlib.BoundLogger
    db: Database
    cache: Cache
    work: Work
    jobs: Jobs
    events: Events
    services: Services
    plugins: Plugins
    hooks: Hooks
    metrics: PluginMetrics
    http: OutboundClient
    secrets: Vault
    audit: Audit
    limits: RateLimiter
    clock: Clock
    state_dir: Path
    node: str = field(default_factory=socket.gethostname)  # `[daemon] node`, else the host's name
    nursery: trio.Nursery | None = None
    state: dict[str, Any] = field(default_factory=dict)

    def now(self) -> datetime:
        """The time, in UTC; a test can set it. For due times and leases use the database's clock."""
        return self.clock.now()
