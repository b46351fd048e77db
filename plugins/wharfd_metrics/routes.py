"""The endpoints of T1 and T2 under /api/v1/monitoring, in the shapes older callers know."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from wharfd import (
    BadRequest,
    FieldError,
    Invalid,
    PluginContext,
    Reply,
    Request,
    Route,
)

from . import reading, recording, store, telemetry
from .checking import Point, decode_points, utc
from .config import Settings
from .planning import MOST_BUCKETS, buckets_in
from .series import choose

BASE = "/api/v1/monitoring"
OLD = "/api/monitoring"
Ctx = PluginContext[Settings]
_MOST_ERRORS = 1000  # told of in a minimal answer
_RECENT_SECONDS = 300.0
_AGGREGATED_SECONDS = 3600.0
_MOST_NAMES = 5000
_MOST_BODY = 32 << 20


class BatchQuery(msgspec.Struct, rename={"answer": "return"}):
    """`return=minimal` asks for counts and errors instead of every point."""

    answer: Literal["minimal", "representation"] = "representation"


class PointsQuery(msgspec.Struct):
    """What GET /metrics takes. Times are ISO 8601; without a zone they are UTC. `label` is name:value."""

    service_name: str | None = None
    metric_type: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    label: list[str] = []
    limit: Annotated[int, Meta(ge=1, le=10000)] = 1000
    offset: Annotated[int, Meta(ge=0, le=100_000)] = 0


class AggregateQuery(msgspec.Struct):
    """What GET /metrics/aggregate takes."""

    service_name: str
    metric_type: str
    start_time: str | None = None
    end_time: str | None = None
    label: list[str] = []
    interval: Literal["hour", "day"] = "hour"


async def record(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Record one point."""
    point: Point = request.body
    taken, problems = await recording.record(ctx, request.owner, {0: point})
    if problems:
        raise Invalid(_field_error(problems[0], ""))
    return _stored(point, *taken.kept()[0])


async def record_batch(ctx: Ctx, request: Request) -> Any:
    """Record many points: the good ones are kept, each wrong one is answered with what is wrong."""
    try:
        points, problems = decode_points(request.raw)
    except msgspec.ValidationError as error:
        raise Invalid(FieldError("", "must be a list of points")) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    count = len(points) + len(problems)
    if count > ctx.settings.max_batch:
        raise Invalid(FieldError("", f"has {count} points, at most {ctx.settings.max_batch} are possible"))
    taken, refused = await recording.record(ctx, request.owner, points)
    problems |= refused
    if problems and not taken.rows:
        first = sorted(problems)[:50]
        raise Invalid(*(_field_error(problems[n], f"[{n}]") for n in first))
    status = 207 if problems else 200
    errors = [{"index": n, "error": problems[n]} for n in sorted(problems)]
    if request.query.answer == "minimal":
        counts = {"accepted": len(taken.rows), "refused": len(errors)}
        return _json(status, {**counts, "errors": errors[:_MOST_ERRORS]})
    by_position = {error["index"]: error for error in errors}
    kept = taken.kept()
    answer = [_stored(points[n], *kept[n]) if n in kept else by_position[n] for n in range(count)]
    return _json(status, answer)


def _json(status: int, value: Any) -> Reply:
    return Reply(status, msgspec.json.encode(value), {"Content-Type": "application/json"})


def _stored(point: Point, number: int, at: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "service_name": point.service_name,
        "metric_type": point.metric_type,
        "metric_value": point.metric_value,
        "unit": point.unit,
        "metric_metadata": point.metric_metadata,
        "labels": point.labels,
        "timestamp": at,
    }


def _field_error(problem: str, path: str) -> FieldError:
    """Tell a problem by its field, with which its sentence begins."""
    name, _, said = problem.partition(" ")
    if name not in Point.__struct_fields__:
        return FieldError(path, problem)
    return FieldError(f"{path}.{name}".lstrip("."), said)


async def list_points(ctx: Ctx, request: Request) -> list[dict[str, Any]]:
    """List points, the newest first."""
    query: PointsQuery = request.query
    now = ctx.now()
    end = _time("end_time", query.end_time) or now + timedelta(minutes=5)
    start = _time("start_time", query.start_time) or end - ctx.settings.keep_points
    _check_range(start, end)

    async def compute() -> list[dict[str, Any]]:
        series = reading.checked(
            await choose(
                ctx.db.read, request.owner, query.service_name, query.metric_type, _labels(query.label),
                reading.MOST_SERIES + 1,
            )
        )  # fmt: skip
        return await reading.points(ctx, series, start, end, query.limit, query.offset)

    if query.service_name is None or query.metric_type is None:
        return await compute()
    found: list[dict[str, Any]] = await ctx.cache.get(
        "points", (request.owner, msgspec.to_builtins(query)), compute, ttl=_RECENT_SECONDS,
        tags=recording.read_tags(request.owner, query.service_name, query.metric_type),
    )  # fmt: skip
    return found


async def aggregate(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Show min, max, average, sum, count and percentiles by hour or day."""
    query: AggregateQuery = request.query
    now = ctx.now()
    end = _time("end_time", query.end_time)
    fixed = end is not None
    end = end or now + timedelta(minutes=5)
    start = _time("start_time", query.start_time) or end - timedelta(
        days=1 if query.interval == "hour" else 30
    )
    _check_range(start, end)
    if buckets_in(start, end, query.interval) > MOST_BUCKETS:
        raise Invalid(
            FieldError("start_time", f"the range has more than {MOST_BUCKETS} {query.interval}s", "query")
        )

    async def compute() -> dict[str, Any]:
        series = reading.checked(
            await choose(
                ctx.db.read, request.owner, query.service_name, query.metric_type, _labels(query.label),
                reading.MOST_SERIES + 1,
            )
        )  # fmt: skip
        units = sorted({row["unit"] for row in series})
        if len(units) > 1:
            message = f"these series are in {' and '.join(units)}; choose by label"
            raise Invalid(FieldError("label", message, "query"))
        ids = [row["id"] for row in series]
        return {
            "service_name": query.service_name,
            "metric_type": query.metric_type,
            "interval": query.interval,
            "unit": units[0] if units else None,
            "start_time": start,
            "end_time": end,
            "data": await reading.aggregate(ctx, ids, start, end, query.interval) if ids else [],
        }

    # What no point can reach any more needs nobody to throw it away.
    final = fixed and end < now - ctx.settings.late - timedelta(hours=1)
    tags = [] if final else recording.read_tags(request.owner, query.service_name, query.metric_type)
    found: dict[str, Any] = await ctx.cache.get(
        "aggregates", (request.owner, msgspec.to_builtins(query)), compute, ttl=_AGGREGATED_SECONDS, tags=tags
    )
    return found


def _time(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # A plus sign that was not escaped arrives as a space.
        return utc(datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text))
    except (ValueError, OverflowError):
        raise Invalid(FieldError(field, f"{text[:40]!r} is no ISO 8601 time", "query")) from None


def _check_range(start: datetime, end: datetime) -> None:
    if start >= end:
        raise Invalid(FieldError("start_time", "must be before end_time", "query"))


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or "\0" in text:
            raise Invalid(FieldError("label", f"{text[:60]!r} is not written name:value", "query"))
        labels[name] = value
    return labels


async def list_names(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List what is recorded: each service's metrics, with their unit and how many series they have."""
    rows = await ctx.db.read.fetch(store.NAMES, request.owner, _MOST_NAMES)
    return {"items": [dict(row) for row in rows]}


async def show_pool(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Show the connection pool of this daemon."""
    pools = {pool.purpose: pool for pool in ctx.db.statistics().pools}
    app = pools["app"]
    metrics = {
        "size": app.limit,
        "checked_in": app.idle,
        "checked_out": app.used,
        "overflow": 0,
        "total_connections": app.open,
        "waiting": app.waiting,
        "longest_wait_seconds": app.longest_wait_seconds,
        "lost": app.lost,
    }
    full = app.waiting > 0 or app.used > 0.8 * app.limit
    others = [telemetry.plain(pool) for purpose, pool in pools.items() if purpose != "app"]
    return {"status": "degraded" if full else "healthy", "metrics": metrics, "other_pools": others}


async def show_queries(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Show what this daemon's statements cost, and the latest slow ones."""
    statistics = ctx.db.statistics()
    total = sum(one.count for one in statistics.statements)
    slow = sum(one.slow for one in statistics.statements)
    seconds = sum(one.total_seconds for one in statistics.statements)
    return {
        "status": "healthy",
        "metrics": {
            "total_queries": total,
            "slow_queries": slow,
            "slow_query_percentage": 100 * slow / total if total else 0.0,
            "average_query_time": seconds / total if total else 0.0,
            "slow_query_threshold": statistics.slow_seconds,
        },
        "statements": [telemetry.plain(one) for one in statistics.statements[:50]],
        "slow": [telemetry.plain(one) for one in statistics.slow[:50]],
    }


async def publish(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Record and push this daemon's own metrics now."""
    published = await telemetry.publish(ctx)
    return {
        "status": "success" if not published.failed else "partial",
        "message": published.sentence,
        "points": published.points,
        "failed_sinks": published.failed,
    }


def routes() -> list[Route]:
    """Return the endpoints."""
    read, write = "monitoring:read", "monitoring:write"

    def at(path: str) -> dict[str, Any]:
        paths = (f"{BASE}{path}", f"{OLD}{path}")
        return {"path": paths[0], "aliases": paths[1:], "kept": paths}

    return [
        Route(method="POST", **at("/metrics"), handler=record, scope=write, body=Point, idempotent=True,
              summary="Record one point"),
        Route(method="POST", **at("/metrics/batch"), handler=record_batch, scope=write, body=bytes,
              query=BatchQuery, idempotent=True, max_body_bytes=_MOST_BODY, summary="Record many points"),
        Route(method="GET", **at("/metrics"), handler=list_points, scope=read, query=PointsQuery,
              summary="Points, the newest first"),
        Route(method="GET", **at("/metrics/names"), handler=list_names, scope=read,
              summary="What is recorded"),
        Route(method="GET", **at("/metrics/aggregate"), handler=aggregate, scope=read, query=AggregateQuery,
              summary="Aggregates by hour or day"),
        Route(method="GET", **at("/database/pool"), handler=show_pool, scope="database:read",
              house=True, summary="The connection pool"),
        Route(method="GET", **at("/database/queries"), handler=show_queries, scope="database:read",
              house=True, summary="What statements cost"),
        Route(method="POST", **at("/database/publish-metrics"), handler=publish, scope="database:write",
              house=True, summary="Publish this daemon's metrics now"),
    ]  # fmt: skip
