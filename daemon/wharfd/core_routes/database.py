"""`/api/database/performance` and `/health`: PostgreSQL's figures, upkeep and health."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ..db import inspection, maintenance
from ..declare import Route
from ..errors import MaintenanceBusy
from ..http import Conflict, Request
from .envelope import Envelope
from .figures import (
    DatabaseHealth,
    DatabasePerformance,
    HitRates,
    PoolFigures,
    index_usage,
    pool_figures,
    query_figures,
    slow_query,
)
from .sources import CoreSources

_SHOWN = 50
_UPKEEP_SECONDS = 3600.0
_MOST_USED = 0.8
_LONG_TRANSACTION_SECONDS = 3600


class Upkeep(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for maintenance: drop dead rows, refresh statistics, or rebuild bloated indexes."""

    action: Literal["cleanup", "analyze", "reindex"]


class UpkeepResult(msgspec.Struct, kw_only=True):
    """Each step that was taken."""

    action: str
    steps: list[maintenance.Step]
    failed: int


async def show_performance(ctx: CoreSources, request: Request) -> Envelope[DatabasePerformance]:
    """Show pools, queries, indexes, tables and hit rates."""
    figures = ctx.db.statistics()
    data = DatabasePerformance(
        pools=pool_figures(ctx),
        queries=[query_figures(one) for one in figures.statements[:_SHOWN]],
        slow_queries=[slow_query(one) for one in figures.slow[:_SHOWN]],
        indexes=[index_usage(one) for one in await inspection.indexes(ctx.db.owner)],
        tables=await inspection.tables(ctx.db.owner),
        hit_rates=HitRates(
            postgresql=(await inspection.cache_ratios(ctx.db)).everything,
            cache=ctx.cache.statistics().hit_rate,
        ),
    )
    return Envelope(data=data, timestamp=ctx.clock.now())


async def maintain(ctx: CoreSources, request: Request) -> Envelope[UpkeepResult]:
    """Run maintenance now, without blocking anybody."""
    wanted: Upkeep = request.body
    actor = request.identity.subject
    try:
        if wanted.action == "cleanup":
            steps = await maintenance.cleanup(ctx.db, actor=actor)
        elif wanted.action == "analyze":
            steps = await maintenance.analyze(ctx.db, actor=actor)
        else:
            steps = await maintenance.reindex(ctx.db, actor=actor)
    except MaintenanceBusy as busy:
        raise Conflict(str(busy)) from busy
    failed = sum(step.outcome == "failed" for step in steps)
    await ctx.note(request, "database.maintained", wanted.action, {"steps": len(steps), "failed": failed})
    result = UpkeepResult(action=wanted.action, steps=steps, failed=failed)
    return Envelope(data=result, timestamp=ctx.clock.now())


async def show_health(ctx: CoreSources, request: Request) -> Envelope[DatabaseHealth]:
    """Show the server's state and what is not as it should be."""
    server = await inspection.server_health(ctx.db)
    usage = server.connections / server.max_connections
    pools = pool_figures(ctx)
    reasons = list(_reasons(server, pools, usage))
    data = DatabaseHealth(
        status="degraded" if reasons else "healthy",
        reasons=reasons,
        server=server,
        pools=pools,
        connection_usage=round(usage, 4),
    )
    return Envelope(data=data, timestamp=ctx.clock.now())


def _reasons(server: inspection.ServerHealth, pools: Sequence[PoolFigures], usage: float) -> Sequence[str]:
    found = []
    if server.standby:
        found.append("the server is a standby and takes no writes")
    if usage > _MOST_USED:
        found.append(f"{server.connections} of {server.max_connections} connections are in use")
    found += [f"the pool {one.purpose} is {one.usage:.0%} in use" for one in pools if one.usage > _MOST_USED]
    if server.oldest_transaction_seconds > _LONG_TRANSACTION_SECONDS:
        found.append(f"a transaction has been open for {server.oldest_transaction_seconds:.0f} s")
    if server.invalid_indexes:
        found.append(f"{server.invalid_indexes} indexes are invalid; reindex repairs them")
    if server.checksum_failures:
        found.append(f"{server.checksum_failures} pages failed their checksum; restore from a backup")
    return found


READ, WRITE = "system:read", "system:write"

ROUTES = [
    Route(
        method="GET",
        path="/api/database/performance",
        handler=show_performance,
        scope=READ,
        returns=Envelope[DatabasePerformance],
    ),
    Route(
        method="POST",
        path="/api/database/performance",
        handler=maintain,
        scope=WRITE,
        body=Upkeep,
        returns=Envelope[UpkeepResult],
        timeout_seconds=_UPKEEP_SECONDS,
    ),
    Route(
        method="GET",
        path="/api/database/health",
        handler=show_health,
        scope=READ,
        returns=Envelope[DatabaseHealth],
    ),
]
