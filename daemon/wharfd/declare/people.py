"""What a plugin gives to people: commands and pages of the console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .checks import Handler


@dataclass(frozen=True, kw_only=True)
class Command:
    """A CLI command group of a plugin: `wharfd NAME …`. `configure(parser)` adds arguments and
    `run(arguments, client) -> int` is called with a client of the running daemon's API.
    """

    name: str
    summary: str
    configure: Callable[..., None]
    run: Callable[..., int]


@dataclass(frozen=True, kw_only=True)
class ConsolePage:
    """A page of the console under `/console/<path>`: `async def render(ctx, request) -> str` of HTML."""

    path: str
    title: str
    render: Handler
    icon: str = ""
    order: int = 100
