"""What the browser follows: the panels of the overview, or any page that says it is live, as they change."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio

from wharfd import EventStream, NotFound, Request, TooMany
from wharfd.contracts.html import Html

from .pages.overview import panels
from .parts import Context
from .rendering import find, render
from .sampling import Sampler

# A stream ends after this time and the browser comes back, so that who signed out does not go on looking.
_LONGEST_SECONDS = 600.0
BODY = "page-body"

Panels = AsyncGenerator[tuple[str, dict[str, str]], None]


async def follow(ctx: Context, request: Request) -> EventStream:
    """Send the overview's panels, or the body of the page named by `page`, whenever they change."""
    sampler: Sampler = ctx.state["sampler"]
    path = (request.query or {}).get("page", "")
    found = find(ctx, path)
    if path and (found is None or found[1].live_seconds is None):
        raise NotFound(f"the console has no live page {path[:80]!r}")
    if sampler.viewers >= ctx.settings.viewers:
        raise TooMany("too many browsers follow the console; raise [plugins.console] viewers", retry_after=30)
    if found is None:
        return EventStream(_counted(sampler, _overview(sampler)))
    return EventStream(_counted(sampler, _page(ctx, request, path, found[1].live_seconds or 1.0)))


async def _counted(sampler: Sampler, panels: Panels) -> Panels:
    sampler.viewers += 1
    until = trio.current_time() + _LONGEST_SECONDS
    try:
        async with aclosing(panels):
            async for sent in panels:
                yield sent
                if trio.current_time() >= until:
                    return
    finally:
        sampler.viewers -= 1


async def _overview(sampler: Sampler) -> Panels:
    shown: dict[str, Html] = {}
    while True:
        now = panels(sampler)
        yield "panels", {f"panel-{k}": str(v) for k, v in now.items() if shown.get(k) != v}
        shown = now
        await sampler.wait_next()


async def _page(ctx: Context, request: Request, path: str, every: float) -> Panels:
    shown = None
    while True:
        made = await render(ctx, request, path)
        if made.status == 200:
            yield "panels", {} if made.body == shown else {BODY: str(made.body)}
            shown = made.body
        await trio.sleep(every)
