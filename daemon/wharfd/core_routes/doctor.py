"""`/api/v1/doctor`: is everything the daemon stands on there and as it must be?"""

from __future__ import annotations

from typing import Any

from ..declare import Route
from ..http import Request
from .sources import CoreSources


async def show_findings(ctx: CoreSources, request: Request) -> dict[str, Any]:
    """Look at roles, clocks, durability, migrations, partitions, Redis, disk and rights."""
    return {"findings": list(await ctx.examine())}


ROUTES = [Route(method="GET", path="/api/v1/doctor", handler=show_findings, scope="system:read")]
