"""Web pages for the people who run wharfd: how it is, what waits, what failed, and a hand on it."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from wharfd import ConsolePage, PluginContext, Route, hookimpl

from . import routes as _routes
from .config import Settings
from .pages import PAGES
from .sampling import Sampler


@hookimpl
def register_settings() -> type[Settings]:
    """What may stand in `[plugins.console]`."""
    return Settings


@hookimpl
def register_routes() -> Sequence[Route]:
    """`/console` and what lies under it."""
    return _routes.ROUTES


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """The pages about the daemon itself."""
    return PAGES


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Make room for the samples."""
    ctx.state["sampler"] = Sampler(ctx)


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Take the overview's figures all the time."""
    await ctx.state["sampler"].run(task_status)
