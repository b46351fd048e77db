"""Trouble: a plugin that misbehaves on request, to see that it hurts only itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import trio

from wharfd import Rate, Request, Route, hookimpl, option

FEW = Rate(20, 3600)


@dataclass(frozen=True)
class Settings:
    """What it does wrong by itself."""

    crash_every: float = option(0.0, help="seconds after which `run` raises; 0 never")


@hookimpl
def register_settings():
    return Settings


@hookimpl
def register_routes(settings):
    return [
        Route(method="POST", path="/trouble/block/{seconds}", handler=block, scope="trouble:make"),
        Route(method="GET", path="/trouble/cached/{number}", handler=cached, scope="trouble:make"),
        Route(method="POST", path="/trouble/few/{key}", handler=few, scope="trouble:make"),
    ]


async def block(ctx: Any, request: Request) -> dict[str, float]:
    """Stand on the event loop, as a plugin does that calls a blocking library."""
    seconds = float(request.path["seconds"])
    time.sleep(seconds)  # noqa: ASYNC251 - the fault itself
    return {"blocked": seconds}


async def cached(ctx: Any, request: Request) -> dict[str, int]:
    """Answer with a value out of the cache that anybody can check: seven times the number."""
    number = int(request.path["number"])

    async def compute() -> int:
        return number * 7

    return {"value": await ctx.cache.get("sevens", number, compute, ttl=2, type=int)}


async def few(ctx: Any, request: Request) -> dict[str, bool]:
    """Take one of twenty an hour."""
    return {"allowed": (await ctx.limits.take("few", request.path["key"], FEW)).allowed}


@hookimpl
async def run(ctx, task_status):
    task_status.started()
    if ctx.settings.crash_every:
        await trio.sleep(ctx.settings.crash_every)
        raise RuntimeError("trouble was asked for")
    await trio.sleep_forever()
