"""The plugins that come with wharfd, with what they declare under their default settings."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from ..config import load_configuration
from ..loading import GROUP, LoadedPlugin, PluginHost
from ..registry import Registry, collect


@cache
def shipped_registry() -> Registry:
    """Load every plugin of this distribution, and none that somebody has installed beside it."""
    found = {
        entry.name: entry
        for entry in entry_points(group=GROUP)
        if entry.dist is not None and entry.dist.name == "wharfd"
    }
    host = PluginHost()
    for name, entry in sorted(found.items()):
        host.add(LoadedPlugin(name, "wharfd", module=entry.load()))
    tables = "".join(f"[plugins.{name}]\n" for name in host.plugins)
    registry, _ = collect(host, load_configuration(tables, {}))
    return registry
