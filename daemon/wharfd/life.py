"""What a plugin's life consists of: provision, services, queues, its own task, cleanup.

The supervisor decides when a life begins and ends; here is what happens in one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
import trio

from .config import Configuration
from .context import PluginContext
from .contracts.services import ServiceKey
from .declare import (
    EventType,
    HealthCheck,
    IngestRoute,
    JobKind,
    Provides,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
)
from .errors import ServiceUnavailable
from .health import BoundCheck
from .http import BoundRoute
from .ingest import RouteTable
from .keeping import CORE_RETENTION
from .loading import PluginHost
from .log import log_context
from .machinery import Machinery
from .registry import Registry
from .supervisor import Life, State, Supervisor
from .work.jobs import queue_of
from .work.queue import Queue

T = TypeVar("T")

log = structlog.get_logger("wharfd.life")


class ServiceBoard:
    """The services that are up, by key. Every plugin's `ctx.services` is this one."""

    def __init__(self) -> None:
        self._up: dict[str, tuple[str, Any]] = {}

    def get(self, key: ServiceKey[T]) -> T:
        """Return the service; raises `ServiceUnavailable` while its plugin is not running."""
        found = self.find(key)
        if found is None:
            raise ServiceUnavailable(f"the service {key} is not available: its plugin is not running")
        return found

    def find(self, key: ServiceKey[T]) -> T | None:
        """Return the service, or None."""
        entry = self._up.get(key.name)
        return None if entry is None else entry[1]

    def offer(self, plugin: str, key: ServiceKey[Any], service: object) -> None:
        """Put a service up."""
        self._up[key.name] = (plugin, service)

    def withdraw(self, plugin: str) -> None:
        """Take down everything a plugin offers."""
        self._up = {name: entry for name, entry in self._up.items() if entry[0] != plugin}


class Neighbours:
    """What all plugins declared, and calls into them. Every plugin's `ctx.plugins` is this one."""

    def __init__(self, registry: Registry, contexts: dict[str, PluginContext[Any]]) -> None:
        self._registry = registry
        self._contexts = contexts

    def declared(self, kind: type[T]) -> list[tuple[str, T]]:
        """Return (plugin, declaration) for every declaration of that kind, the core's own first."""
        own = [("core", rule) for rule in CORE_RETENTION if isinstance(rule, kind)]
        return [*own, *self._registry.of(kind)]

    async def call(self, plugin: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(ctx, *args)` with that plugin's context and await it if need be."""
        context = self._contexts.get(plugin)
        if context is None:
            raise ServiceUnavailable(f"the plugin {plugin} is not running")
        with log_context(plugin=plugin):
            result = function(context, *args)
            return await result if inspect.isawaitable(result) else result


class ExtensionPoints:
    """Calls a plugin's own hooks on every running plugin, one at a time, each contained."""

    def __init__(
        self, host: PluginHost, contexts: dict[str, PluginContext[Any]], order: tuple[str, ...]
    ) -> None:
        self._host = host
        self._contexts = contexts
        self._order = order

    async def call(self, name: str, **arguments: Any) -> list[Any]:
        """Call the hook where it is implemented; what one raises is logged and leaves the others be."""
        results = []
        for plugin in self._order:
            context = self._contexts.get(plugin)
            if context is None or not self._host.implements(plugin, name):
                continue
            try:
                with log_context(plugin=plugin):
                    result = self._host.call(plugin, name, ctx=context, **arguments)
                    results.append(await result if inspect.isawaitable(result) else result)
            except Exception:
                log.exception("extension_point_failed", plugin=plugin, hook=name)
        return results


class PluginLives:
    """Makes the `Life` of each plugin."""

    def __init__(self, machinery: Machinery, registry: Registry) -> None:
        self.machinery = machinery
        self.registry = registry
        self.host = registry.host
        self.ingest = RouteTable()
        for plugin, route in registry.of(IngestRoute):
            self.ingest.mount(route, None, plugin=plugin)
            self.ingest.suspend(plugin)
        self.services = ServiceBoard()
        self.contexts: dict[str, PluginContext[Any]] = {}
        self._hooks = ExtensionPoints(self.host, self.contexts, registry.order)
        self._neighbours = Neighbours(registry, self.contexts)
        self._draining: dict[str, trio.Event] = {}
        self._drained: dict[str, trio.Event] = {}

    def observe(self, supervisor: Supervisor) -> None:
        """Tell running plugins, from now on, which work was given up and how the others are.

        One that starts is told of those that are down already.
        """

        def changed(plugin: str, old: str, new: str) -> None:
            for name in list(self.contexts):
                self._tell(name, "observe_plugin_state", plugin=plugin, old=old, new=new)
            for name, other in supervisor.plugins.items() if new == State.RUNNING else ():
                if other.state in (State.QUARANTINED, State.FAILED):
                    was: dict[str, str] = {"old": other.before, "new": other.state}
                    self._tell(plugin, "observe_plugin_state", plugin=name, **was)

        def buried(queue: str, key: str, reason: str) -> None:
            name = queue.partition(".")[0]
            self._tell(name, "observe_work_buried", queue=queue, key=key, reason=reason)

        supervisor.observe(changed)
        self.machinery.engine.buried = buried

    def _tell(self, name: str, hook: str, **facts: str) -> None:
        ctx = self.contexts.get(name)
        if ctx is None:
            return
        try:
            with log_context(plugin=name):
                self.host.call(name, hook, ctx=ctx, **facts)
        except Exception:
            log.exception("observer_failed", plugin=name, hook=hook)

    def of(self, name: str, configuration: Configuration) -> Life:
        """Return the life of a plugin, for the supervisor."""
        times = configuration.core.daemon
        state: dict[str, PluginContext[Any]] = {}

        async def live(nursery: trio.Nursery, ready: Callable[[], None]) -> None:
            with log_context(plugin=name):
                await self._live(name, nursery, ready, state)

        async def end() -> None:
            with log_context(plugin=name):
                await self._end(name, state.pop("ctx", None))

        return Life(
            name=name,
            origin=self.host.plugins[name].origin,
            live=live,
            end=end,
            start_timeout=times.start_timeout.total_seconds(),
            stop_timeout=times.stop_timeout.total_seconds(),
            on_start_failure=configuration.plugins[name].on_start_failure,
        )

    def context_of(self, name: str) -> Callable[[], PluginContext[Any] | None]:
        """Return a function that gives the running plugin's context, and None while it is not running."""
        return lambda: self.contexts.get(name)

    def bound_routes(self) -> list[BoundRoute]:
        """Return the API routes of all plugins, each with the way to its plugin's context."""
        return [
            BoundRoute(route, plugin, self.context_of(plugin), hidden=route.page)
            for plugin, route in self.registry.of(Route)
        ]

    def bound_checks(self) -> list[BoundCheck]:
        """Return the health checks of all plugins."""
        return [
            BoundCheck(check, plugin, self.context_of(plugin))
            for plugin, check in self.registry.of(HealthCheck)
        ]

    async def drain(self, name: str) -> None:
        """Let the plugin's queues finish what they hold and claim no more."""
        if name in self._draining:
            self._draining[name].set()
            await self._drained[name].wait()

    async def _live(
        self,
        name: str,
        nursery: trio.Nursery,
        ready: Callable[[], None],
        state: dict[str, PluginContext[Any]],
    ) -> None:
        plugin = self.host.plugins[name]
        ctx = self.machinery.context(
            plugin,
            self.registry,
            nursery=nursery,
            services=self.services,
            plugins=self._neighbours,
            hooks=self._hooks,
        )
        state["ctx"] = ctx
        queues = await self._declare(name)
        if self.host.implements(name, "provision"):
            await self.host.call(name, "provision", ctx=ctx)
        for _, service in self.registry.of(Provides, name):
            made = service.factory(ctx)
            self.services.offer(name, service.key, await made if inspect.isawaitable(made) else made)
        if self.host.implements(name, "run"):
            await nursery.start(self._run, name, ctx)
        self.contexts[name] = ctx
        self._open_ingest(name, ctx)
        await nursery.start(self._work, name, queues, ctx)
        ready()
        await trio.sleep_forever()

    async def _run(
        self,
        name: str,
        ctx: PluginContext[Any],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await self.host.call(name, "run", ctx=ctx, task_status=task_status)

    async def _declare(self, name: str) -> list[Queue]:
        engine, queues = self.machinery.engine, []
        for _, queue in self.registry.of(WorkQueue, name):
            queues.append(await engine.prepare(name, queue))
        for _, kind in self.registry.of(JobKind, name):
            queues.append(await engine.prepare(name, queue_of(name, kind)))
        heard: list[Subscription | EventType] = [s for _, s in self.registry.of(Subscription, name)]
        heard += [published for _, published in self.registry.of(EventType, name)]
        queues += await self.machinery.bus.declare(name, heard)
        schedules = [schedule for _, schedule in self.registry.of(Schedule, name)]
        fired = await self.machinery.scheduler.declare(name, schedules)
        return [*queues, fired] if fired is not None else queues

    async def _work(
        self,
        name: str,
        queues: list[Queue],
        ctx: PluginContext[Any],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._draining[name], self._drained[name] = trio.Event(), trio.Event()
        drained = self._drained[name]
        try:
            await self.machinery.engine.run_queues(
                queues, ctx, stop=self._draining[name], task_status=task_status
            )
        finally:
            drained.set()

    def _open_ingest(self, name: str, ctx: PluginContext[Any]) -> None:
        for _, route in self.registry.of(IngestRoute, name):
            mounted = self.ingest.source(route.source)
            assert mounted is not None, "the app mounts every declared route before any plugin starts"
            mounted.ctx = ctx
        self.ingest.resume(name)

    async def _end(self, name: str, ctx: PluginContext[Any] | None) -> None:
        self.ingest.suspend(name)
        self.contexts.pop(name, None)
        self.services.withdraw(name)
        self._draining.pop(name, None)
        if ctx is not None and self.host.implements(name, "cleanup"):
            await self.host.call(name, "cleanup", ctx=ctx)
