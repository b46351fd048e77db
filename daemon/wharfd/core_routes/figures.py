"""The figures of PostgreSQL as they are shown; times in milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from ..db import inspection
from ..db.statistics import SlowStatement, StatementStatistics
from .sources import CoreSources


class PoolFigures(msgspec.Struct, kw_only=True, rename="camel"):
    """One pool of connections. `usage` is the share in use."""

    purpose: str
    limit: int
    open: int
    used: int
    idle: int
    waiting: int
    usage: float
    longest_wait_ms: float


class QueryFigures(msgspec.Struct, kw_only=True, rename="camel"):
    """One named statement, in milliseconds."""

    name: str
    count: int
    errors: int
    rows: int
    slow: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class SlowQuery(msgspec.Struct, kw_only=True):
    """One execution above the slow limit."""

    name: str
    ms: float
    at: datetime
    rows: int
    failed: bool


class IndexUsage(msgspec.Struct, kw_only=True):
    """One index and what is wrong with it."""

    name: str
    table: str
    bytes: int
    scans: int
    bloated: bool
    unused: bool
    valid: bool


class HitRates(msgspec.Struct, kw_only=True):
    """The share of reads served from memory: PostgreSQL's own, and the daemon's cache."""

    postgresql: float | None
    cache: float | None


class DatabasePerformance(msgspec.Struct, kw_only=True, rename="camel"):
    """How the database performs, the most expensive first everywhere."""

    pools: list[PoolFigures]
    queries: list[QueryFigures]
    slow_queries: list[SlowQuery]
    indexes: list[IndexUsage]
    tables: list[inspection.TableFigures]
    hit_rates: HitRates


class DatabaseHealth(msgspec.Struct, kw_only=True, rename="camel"):
    """The server as it is seen from here."""

    status: Literal["healthy", "degraded"]
    reasons: list[str]
    server: inspection.ServerHealth
    pools: list[PoolFigures]
    connection_usage: float


def pool_figures(ctx: CoreSources) -> list[PoolFigures]:
    """How full the pools are."""
    return [
        PoolFigures(
            purpose=one.purpose,
            limit=one.limit,
            open=one.open,
            used=one.used,
            idle=one.idle,
            waiting=one.waiting,
            usage=round(one.used / one.limit, 4),
            longest_wait_ms=_ms(one.longest_wait_seconds),
        )
        for one in ctx.db.statistics().pools
    ]


def query_figures(one: StatementStatistics) -> QueryFigures:
    """A statement's figures as they are shown."""
    return QueryFigures(
        name=one.name,
        count=one.count,
        errors=one.errors,
        rows=one.rows,
        slow=one.slow,
        mean_ms=_ms(one.mean_seconds),
        p50_ms=_ms(one.p50_seconds),
        p95_ms=_ms(one.p95_seconds),
        p99_ms=_ms(one.p99_seconds),
        max_ms=_ms(one.max_seconds),
    )


def slow_query(one: SlowStatement) -> SlowQuery:
    """A slow execution as it is shown."""
    return SlowQuery(name=one.name, ms=_ms(one.seconds), at=one.at, rows=one.rows, failed=one.failed)


def index_usage(one: inspection.IndexFigures) -> IndexUsage:
    """An index as it is shown."""
    return IndexUsage(
        name=one.name,
        table=one.table,
        bytes=one.bytes,
        scans=one.scans,
        bloated=one.bloated,
        unused=one.unused,
        valid=one.valid,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
