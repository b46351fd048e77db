"""`/api/v1/status`: the daemon in a few lines."""

from __future__ import annotations

import os
from datetime import datetime

import msgspec

from .. import __version__
from ..declare import Route
from ..http import Request
from .plugins import PluginInfo, plugin_infos
from .sources import CoreSources


class Status(msgspec.Struct, kw_only=True):
    """Who this daemon is, how it is, and its plugins."""

    status: str
    ready: bool
    version: str
    node: str
    pid: int
    started_at: datetime
    uptime_seconds: float
    api: str
    ingest: str
    state_dir: str
    troubles: list[str]
    plugins: list[PluginInfo]


async def show_status(ctx: CoreSources, request: Request) -> Status:
    """Say how the daemon is."""
    report = await ctx.health.report()
    addresses = ctx.addresses()
    return Status(
        status=report.status,
        ready=report.ready,
        version=__version__,
        node=ctx.node,
        pid=os.getpid(),
        started_at=ctx.started_at,
        uptime_seconds=round((ctx.clock.now() - ctx.started_at).total_seconds(), 1),
        api=", ".join(addresses.get("api", ())),
        ingest=", ".join(addresses.get("ingest", ())),
        state_dir=str(ctx.state_dir),
        troubles=report.troubles(),
        plugins=plugin_infos(ctx),
    )


ROUTES = [
    Route(method="GET", path="/api/v1/status", handler=show_status, scope="system:read", returns=Status)
]
