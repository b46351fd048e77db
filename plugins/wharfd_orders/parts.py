"""What one running instance of the plugin holds between calls. Nothing in it matters after a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio

from wharfd import PluginContext

from .config import Settings
from .executing.executors import Executors
from .pace import Rates

Context = PluginContext[Settings]
_KEY = "parts"


@dataclass
class Parts:
    """The executors, the limit of uploads, the rates, and the bell of the steering loop."""

    executors: Executors
    uploads: trio.CapacityLimiter
    rates: Rates = field(default_factory=Rates)
    begun: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    bell: trio.Event = field(default_factory=trio.Event)

    def touch(self, *batches: int) -> None:
        """Have these batches looked at soon."""
        self.touched.update(batches)
        self.bell.set()


def parts_of(ctx: PluginContext[Any]) -> Parts:
    """Return the parts that `provision` made."""
    parts: Parts = ctx.state[_KEY]
    return parts


def keep_parts(ctx: PluginContext[Any], parts: Parts) -> None:
    """Keep the parts for everybody."""
    ctx.state[_KEY] = parts
