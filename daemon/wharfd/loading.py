"""Find the enabled plugins, import them one by one, and call their hooks one plugin at a time.

A plugin that raises while it is imported or while it declares itself is kept as broken: it is reported and
left out, and the others go on (law 4). What the operator can mend in the configuration becomes a `Problem`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from . import hookspecs
from .config.options import did_you_mean
from .errors import Problem

GROUP = "wharfd.plugins"


@dataclass
class LoadedPlugin:
    """A plugin as it was found: its module, or why there is none."""

    name: str
    origin: str
    module: ModuleType | None = None
    error: str | None = None
    settings: Any = None
    declared: dict[str, Any] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether it cannot run at all, whatever the configuration says."""
        return self.error is not None


class PluginHost:
    """Holds the loaded plugins and calls a hook of exactly one of them."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("wharfd")
        self._manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, LoadedPlugin] = {}

    def add(self, plugin: LoadedPlugin) -> None:
        """Register a plugin; hooks that do not fit (a wrong signature) make it broken, nothing more."""
        self.plugins[plugin.name] = plugin
        if plugin.module is None:
            return
        try:
            self._manager.register(plugin.module, plugin.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            plugin.error = f"its hooks do not fit: {error}"
            self._manager.unregister(name=plugin.name)
            return
        for hook in self._awaited_observers(plugin):
            plugin.error = f"its {hook} is async; observers are called and not awaited: write it with def"

    def _awaited_observers(self, plugin: LoadedPlugin) -> list[str]:
        return [
            caller.name
            for caller in self._manager.get_hookcallers(plugin.module) or ()
            for implementation in caller.get_hookimpls()
            if implementation.plugin_name == plugin.name
            and caller.name.startswith("observe_")
            and inspect.iscoroutinefunction(implementation.function)
        ]

    def add_hookspecs(self, specs: Any) -> None:
        """Add a plugin's own extension points."""
        self._manager.add_hookspecs(specs)

    def unknown_hooks(self) -> list[tuple[str, str]]:
        """Return (plugin, hook) for implementations no specification knows, and that are not optional."""
        specs = {name for name in dir(self._manager.hook) if not name.startswith("_")}
        found = []
        for name, plugin in self.plugins.items():
            for attribute in dir(plugin.module) if plugin.module else ():
                options = self._manager.parse_hookimpl_opts(plugin.module, attribute)
                if options is not None and not options["optionalhook"]:
                    hook = options["specname"] or attribute
                    caller = getattr(self._manager.hook, hook, None)
                    if hook not in specs or caller is None or caller.spec is None:
                        found.append((name, hook))
        return found

    def implements(self, plugin: str, hook: str) -> bool:
        """Whether the plugin has that hook."""
        caller = getattr(self._manager.hook, hook, None)
        return caller is not None and any(i.plugin_name == plugin for i in caller.get_hookimpls())

    def call(self, plugin: str, hook: str, /, **arguments: Any) -> Any:
        """Call one hook of one plugin and return what it returns; None when it has no such hook.

        An async hook returns its coroutine, to be awaited by the caller.
        """
        if not self.implements(plugin, hook):
            return None
        others = [m for name, m in self._manager.list_name_plugin() if name != plugin and m is not None]
        caller = self._manager.subset_hook_caller(hook, others)
        result = caller(**arguments)
        first_only = caller.spec is not None and caller.spec.opts.get("firstresult")
        return result if first_only else next(iter(result), None)


def find_plugins(
    wanted: Mapping[str, object], plugins_dir: Path | None
) -> tuple[list[LoadedPlugin], list[Problem]]:
    """Import the wanted plugins; return them with everything the operator has to mend."""
    problems: list[Problem] = []
    offers: dict[str, list[tuple[EntryPoint, str]]] = {}
    for entry, provider in _entry_points():
        offers.setdefault(entry.name, []).append((entry, provider))
    dropins = _dropins(plugins_dir, problems)
    loaded = []
    for name in wanted:
        providers = [provider for _, provider in offers.get(name, [])]
        if name in dropins:
            providers.append(str(dropins[name]))
        if len(providers) > 1:
            both = " and ".join(providers)
            problems.append(Problem(f"plugins.{name}", f"offered by {both}", "remove one of them"))
        elif not providers:
            hint = did_you_mean(name, [*offers, *dropins])
            problems.append(Problem(f"plugins.{name}", "there is no plugin of that name", hint))
        elif name in dropins:
            loaded.append(_load(name, str(dropins[name]), lambda n=name: _import_dropin(n, dropins[n])))
        else:
            entry, provider = offers[name][0]
            loaded.append(_load(name, provider, entry.load))
    return loaded, problems


def installed_plugins(plugins_dir: Path | None) -> dict[str, str]:
    """Return every plugin that could be enabled, with where it comes from."""
    found = {entry.name: provider for entry, provider in _entry_points()}
    return found | {name: str(path) for name, path in _dropins(plugins_dir, []).items()}


def _entry_points() -> Iterator[tuple[EntryPoint, str]]:
    seen = set()
    for distribution in distributions():
        entries = distribution.entry_points.select(group=GROUP)
        if not entries:
            continue  # what it is called is not of interest, and takes a millisecond to read
        about = distribution.metadata
        provider = f"{about['Name']} {about['Version']}"
        for entry in entries:
            # An editable install can be listed twice under the same name and version.
            mark = (entry.name, entry.value, provider)
            if mark not in seen:
                seen.add(mark)
                yield entry, provider


def _dropins(folder: Path | None, problems: list[Problem]) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        problems.append(Problem("daemon.plugins_dir", f"{folder} is not a folder", "make it or name another"))
        return {}
    found = {}
    for path in sorted(folder.glob("*.py")):
        refusal = _untrusted(path)
        if refusal:
            problems.append(
                Problem(str(path), refusal, "chmod go-w it, and let root or the daemon's user own it")
            )
        else:
            found[path.stem] = path
    return found


def _untrusted(path: Path) -> str:
    """Code in this file runs with the daemon's rights: nobody else may be able to change it."""
    state = path.stat()
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "group or others can write this plugin"
    if state.st_uid not in (0, os.geteuid()):
        return f"this plugin belongs to user {state.st_uid}"
    return ""


def _import_dropin(name: str, path: Path) -> ModuleType:
    module_name = f"wharfd_dropin_{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up while the body runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _load(name: str, origin: str, load: Any) -> LoadedPlugin:
    try:
        return LoadedPlugin(name, origin, module=load())
    except (Exception, SystemExit) as error:
        return LoadedPlugin(name, origin, error=f"import failed: {type(error).__name__}: {error}")
