"""Named points at which the process kills itself: SIGKILL, at once, nothing is tidied up."""

from __future__ import annotations

import os
import signal
from typing import Any

POINTS = (
    "store.begin",
    "store.end",
    "store.committed",
    "spooled",
    "work.begin",
    "work.end",
    "work.committed",
    "heard",
)


def pass_point(ctx: Any, name: str) -> None:
    """Die here if this is the point that was asked for and it was passed often enough."""
    if ctx.settings.crash_at != name:
        return
    passed = ctx.state["passed"] = ctx.state.get("passed", 0) + 1
    if passed > ctx.settings.crash_after:
        os.kill(os.getpid(), signal.SIGKILL)
