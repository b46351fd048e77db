"""What the browser follows: the panels of the overview that changed, sample after sample."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from wharfd import EventStream, Request, TooMany
from wharfd.contracts.html import Html

from .pages.overview import panels
from .parts import Context
from .sampling import Sampler

# A stream ends after this time and the browser comes back, so that who signed out does not go on looking.
_LONGEST_SECONDS = 600.0


async def follow(ctx: Context, _request: Request) -> EventStream:
    """Send the overview's panels as they change."""
    sampler: Sampler = ctx.state["sampler"]
    if sampler.viewers >= ctx.settings.viewers:
        raise TooMany(
            "too many browsers follow the overview; raise [plugins.console] viewers", retry_after=30
        )
    return EventStream(_changes(sampler))


async def _changes(sampler: Sampler) -> AsyncIterator[tuple[str, dict[str, str]]]:
    shown: dict[str, Html] = {}
    until = trio.current_time() + _LONGEST_SECONDS
    sampler.viewers += 1
    try:
        while trio.current_time() < until:
            now = panels(sampler)
            yield "panels", {f"panel-{k}": str(v) for k, v in now.items() if shown.get(k) != v}
            shown = now
            await sampler.wait_next()
    finally:
        sampler.viewers -= 1
