"""Everything the plugins declared, in one place, checked for conflicts before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, TypeVar

from .config import Configuration, plugin_settings
from .declare import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    HealthCheck,
    Importer,
    IngestRoute,
    JobKind,
    Metric,
    Migrations,
    Provides,
    Requires,
    RetentionRule,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
)
from .errors import Problem
from .loading import LoadedPlugin, PluginHost

D = TypeVar("D")

# hook → the declarations it may return, in the order the hooks are called
DECLARATIONS: dict[str, tuple[type[Any], ...]] = {
    "register_commands": (Command,),
    "register_services": (Provides, Requires),
    "register_migrations": (Migrations,),
    "register_routes": (Route,),
    "register_ingest": (IngestRoute,),
    "register_work": (WorkQueue, JobKind),
    "register_schedules": (Schedule,),
    "register_subscriptions": (Subscription, EventType),
    "register_health_checks": (HealthCheck,),
    "register_metrics": (Metric,),
    "register_alerts": (AlertRule,),
    "register_retention": (RetentionRule,),
    "register_console": (ConsolePage,),
    "register_importers": (Importer,),
}


@dataclass(frozen=True)
class Declared:
    """One declaration and the plugin that made it."""

    plugin: str
    value: Any


class Registry:
    """The declarations of all plugins that can run."""

    def __init__(self, host: PluginHost) -> None:
        self.host = host
        self.order: tuple[str, ...] = tuple(host.plugins)

    @property
    def services(self) -> dict[str, str]:
        """The services there are, by name, each with the plugin that provides it."""
        return {service.key.name: plugin for plugin, service in self.of(Provides)}

    def of(self, kind: type[D], plugin: str | None = None) -> list[tuple[str, D]]:
        """Return (plugin, declaration) for every declaration of that kind, in start order."""
        return [
            (name, value)
            for name in self.order
            if plugin in (None, name) and not self.host.plugins[name].broken
            for values in self.host.plugins[name].declared.values()
            for value in values
            if isinstance(value, kind)
        ]


def collect(host: PluginHost, configuration: Configuration) -> tuple[Registry, list[Problem]]:
    """Call every declaration hook of every plugin; return the registry and what the operator must mend."""
    problems: list[Problem] = []
    for plugin in list(_sound(host)):
        _guarded(plugin, "register_hookspecs", partial(_add_hookspecs, host, plugin.name))
    for name, hook in host.unknown_hooks():
        host.plugins[name].error = f"it implements {hook!r}, which is no hook; see docs/hooks.md"
    for plugin in _sound(host):
        _read_settings(host, configuration, plugin, problems)
    for plugin in _sound(host):
        if not any(p.where.startswith(f"plugins.{plugin.name}") for p in problems):
            _declare(host, plugin)
    registry = Registry(host)
    problems += _conflicts(registry)
    registry.order, order_problems = _start_order(registry)
    return registry, problems + order_problems


def _sound(host: PluginHost) -> Iterator[LoadedPlugin]:
    return (plugin for plugin in host.plugins.values() if not plugin.broken)


def _guarded(plugin: LoadedPlugin, hook: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:
        plugin.error = f"{hook} failed: {type(error).__name__}: {error}"
        return None


def _add_hookspecs(host: PluginHost, name: str) -> None:
    specs = host.call(name, "register_hookspecs")
    if specs is not None:
        host.add_hookspecs(specs)


def _read_settings(
    host: PluginHost, configuration: Configuration, plugin: LoadedPlugin, problems: list[Problem]
) -> None:
    kind = _guarded(plugin, "register_settings", partial(host.call, plugin.name, "register_settings"))
    if kind is None:
        for key in configuration.tables.get(plugin.name, {}):
            problems.append(
                Problem(f"plugins.{plugin.name}.{key}", "this plugin has no settings", "remove it")
            )
        return
    read = _guarded(
        plugin, "reading its settings", partial(plugin_settings, configuration, plugin.name, kind)
    )
    if read is not None:
        plugin.settings, wrong = read
        problems += wrong


def _declare(host: PluginHost, plugin: LoadedPlugin) -> None:
    for hook, kinds in DECLARATIONS.items():
        arguments = {} if hook == "register_migrations" else {"settings": plugin.settings}
        result = _guarded(plugin, hook, partial(host.call, plugin.name, hook, **arguments))
        if plugin.broken:
            return
        values = tuple(result) if isinstance(result, Sequence) else () if result is None else (result,)
        for value in values:
            if not isinstance(value, kinds):
                names = " or ".join(kind.__name__ for kind in kinds)
                plugin.error = f"{hook} returned {type(value).__name__}; it must return {names}"
                return
        plugin.declared[hook] = values


# -- conflicts -------------------------------------------------------------------------------------------


def _conflicts(registry: Registry) -> list[Problem]:
    claims: list[tuple[str, str]] = []
    named: tuple[type[Any], ...] = (
        WorkQueue, JobKind, Schedule, HealthCheck, Metric, AlertRule, RetentionRule, Importer,
    )  # fmt: skip
    for plugin, route in registry.of(Route):
        claims += [(f"route {route.method} {_shape(path)}", plugin) for path in route.paths]
    # On the API a plugin may answer a GET on its own ingest path better than it does in public.
    own = set(claims)
    for plugin, ingest in registry.of(IngestRoute):
        routes = [f"route {method} {_shape(path)}" for path in ingest.paths for method in ("POST", "GET")]
        claims += [(what, plugin) for what in routes if not (" GET " in what and (what, plugin) in own)]
    for plugin, service in registry.of(Provides):
        claims.append((f"service {service.key}", plugin))
    for plugin, command in registry.of(Command):
        claims.append((f"command wharfd {command.name}", plugin))
    for plugin, page in registry.of(ConsolePage):
        claims.append((f"console page {page.path}", plugin))
    for plugin, event in registry.of(EventType):
        claims.append((f"event type {event.event.type}", plugin))
    for kind in named:
        claims += [(f"{_words(kind)} {plugin}.{value.name}", plugin) for plugin, value in registry.of(kind)]
    return list(_twice(registry, claims))


def _twice(registry: Registry, claims: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for what, plugin in claims:
        if what not in first:
            first[what] = plugin
            continue
        one, other = registry.host.plugins[first[what]], registry.host.plugins[plugin]
        yield Problem(
            what, f"declared by {one.name} ({one.origin}) and by {other.name} ({other.origin})", "disable one"
        )


def _shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def _words(kind: type[Any]) -> str:
    words = {
        WorkQueue: "work queue",
        JobKind: "job kind",
        HealthCheck: "health check",
        AlertRule: "alert rule",
    }
    return words.get(kind, kind.__name__.lower())


# -- order -------------------------------------------------------------------------------------------------


def _start_order(registry: Registry) -> tuple[tuple[str, ...], list[Problem]]:
    providers = registry.services
    problems, needs = [], {name: set[str]() for name in registry.order}
    for plugin, need in registry.of(Requires):
        provider = providers.get(need.key.name)
        if provider is not None and provider != plugin:
            needs[plugin].add(provider)
        elif provider is None and not need.optional:
            hint = f"enable a plugin that provides {need.key}"
            problems.append(Problem(f"plugins.{plugin}", f"needs the service {need.key}", hint))
    try:
        return tuple(TopologicalSorter(needs).static_order()), problems
    except CycleError as error:
        circle = " → ".join(f"{b}" for b, _ in pairwise([*error.args[1], ""]))
        return registry.order, [*problems, Problem("plugins", f"need each other in a circle: {circle}")]
