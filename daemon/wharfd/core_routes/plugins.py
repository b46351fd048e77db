"""`/api/v1/plugins`: how the plugins are, and trying one again."""

from __future__ import annotations

import msgspec

from ..declare import Route
from ..http import Conflict, NotFound, Request
from .sources import CoreSources


class PluginInfo(msgspec.Struct, kw_only=True):
    """How one plugin is doing. `since_seconds` is how long it has been in this state."""

    name: str
    state: str
    since_seconds: float
    restarts: int
    origin: str
    last_error: str | None
    retry_in_seconds: float | None


class Plugins(msgspec.Struct):
    """All plugins in start order."""

    plugins: list[PluginInfo]


class Resumed(msgspec.Struct, kw_only=True):
    """The plugin that is tried again."""

    name: str
    resumed: bool = True


def plugin_infos(ctx: CoreSources) -> list[PluginInfo]:
    """How every plugin is doing."""
    return [
        PluginInfo(
            name=one.name,
            state=str(one.state),
            since_seconds=round(one.since, 1),
            restarts=one.restarts,
            origin=one.origin,
            last_error=one.last_error,
            retry_in_seconds=None if one.retry_in_seconds is None else round(one.retry_in_seconds, 1),
        )
        for one in ctx.plugins.statuses()
    ]


async def list_plugins(ctx: CoreSources, request: Request) -> Plugins:
    """List the plugins and how they are."""
    return Plugins(plugin_infos(ctx))


async def resume(ctx: CoreSources, request: Request) -> Resumed:
    """Try a quarantined or failed plugin again at once, with a clean record."""
    name = request.path["name"]
    plugin = ctx.plugins.plugins.get(name)
    info = next((one for one in plugin_infos(ctx) if one.name == name), None)
    if plugin is None or info is None:
        raise NotFound(f"there is no plugin {name!r} here")
    if info.state == "running":
        raise Conflict(f"the plugin {name} is running")
    if plugin.ended.is_set():
        why = f" ({info.last_error})" if info.last_error else ""
        raise Conflict(f"the plugin {name} has ended for good{why}; mend it and restart the daemon")
    await ctx.note(request, "plugin.resumed", name, {"state": info.state})
    plugin.resume()
    return Resumed(name=name)


ROUTES = [
    Route(method="GET", path="/api/v1/plugins", handler=list_plugins, scope="system:read", returns=Plugins),
    Route(
        method="POST",
        path="/api/v1/plugins/{name}/resume",
        handler=resume,
        scope="system:write",
        returns=Resumed,
    ),
]
