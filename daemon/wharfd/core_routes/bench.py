"""`/api/database/test`: measure what wharfd does here, and say whether it is fit for production."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import trio
from msgspec import Meta

from ..bench import SUITES, Benches, Plan, Status, Suite, Verdict
from ..db import sql
from ..declare import Route
from ..errors import BenchBusy
from ..http import Conflict, NotFound, Request, Unavailable
from .envelope import Envelope
from .sources import CoreSources

_PROBE = sql("bench.probe", "SELECT 1")
_PROBES = 20
_SLOW_MS = 100.0
_MOST_AT_ONCE = 512
_LOAD: tuple[Suite, ...] = ("ingest", "processing", "query")


class LoadConfig(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How much load: so many webhooks, so many commits at once, so many webhooks in one."""

    total_webhooks: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    concurrent_batches: Annotated[int, Meta(ge=1, le=64)] = 5
    batch_size: Annotated[int, Meta(ge=1, le=1000)] = 100
    suites: Annotated[tuple[Suite, ...], Meta(min_length=1, max_length=len(SUITES))] | None = None
    rate: Annotated[float, Meta(ge=1, le=100_000)] | None = None
    seconds: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    rounds: Annotated[int, Meta(ge=1, le=20)] = 2
    rows: Annotated[int, Meta(ge=100, le=2_000_000)] = 20_000


class TestOrder(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Begin a test: `load` offers a steady rate, `stress` goes as fast as it can."""

    test_type: Literal["load", "stress"]
    config: LoadConfig = msgspec.field(default_factory=LoadConfig)


class Validate(msgspec.Struct, forbid_unknown_fields=True):
    """Ask whether this daemon is fit for production."""

    action: Literal["validate"]


class BasicTest(msgspec.Struct, kw_only=True, rename="camel"):
    """Round trips to PostgreSQL, and how the last test is doing."""

    test: str = "basic"
    passed: bool
    reason: str
    round_trips: int
    p50_ms: float
    max_ms: float
    run: Status


def _benches(ctx: CoreSources) -> Benches:
    if ctx.benches is None:
        raise Unavailable("this daemon carries out no tests")
    return ctx.benches


async def show_basic(ctx: CoreSources, request: Request) -> Envelope[BasicTest]:
    """Ask PostgreSQL a few times, and show how the test that was begun last is doing."""
    times: list[float] = []
    for _ in range(_PROBES):
        began = trio.current_time()
        await ctx.db.fetchval(_PROBE)
        times.append((trio.current_time() - began) * 1000)
    times.sort()
    middle = times[len(times) // 2]
    data = BasicTest(
        passed=middle < _SLOW_MS,
        reason="PostgreSQL answers" if middle < _SLOW_MS else f"an answer takes {middle:.0f} ms",
        round_trips=len(times),
        p50_ms=round(middle, 3),
        max_ms=round(times[-1], 3),
        run=_benches(ctx).status,
    )
    return Envelope(data=data, timestamp=ctx.clock.now())


async def begin(ctx: CoreSources, request: Request) -> Envelope[Status]:
    """Begin a test on a scratch schema, in a process of its own; GET shows how far it is."""
    wanted: TestOrder = request.body
    given = wanted.config
    stress = wanted.test_type == "stress"
    plan = Plan(
        suites=_unique(given.suites or _LOAD),
        rounds=given.rounds,
        seconds=given.seconds,
        rate=given.rate,
        rows=given.rows,
        at_once=min(_MOST_AT_ONCE, given.concurrent_batches * given.batch_size),
        batch=given.batch_size,
        total=given.total_webhooks,
        stress=stress,
    )
    try:
        status = _benches(ctx).start(plan)
    except BenchBusy as busy:
        raise Conflict(str(busy)) from busy
    await ctx.note(request, "database.tested", wanted.test_type, {"suites": list(plan.suites)})
    return Envelope(data=status, timestamp=ctx.clock.now())


def _unique(suites: Sequence[Suite]) -> tuple[Suite, ...]:
    return tuple(dict.fromkeys(suites))


async def judge(ctx: CoreSources, request: Request) -> Envelope[Verdict]:
    """Say whether this daemon is fit for production, point by point."""
    verdict = await ctx.validate()
    return Envelope(success=verdict.ready, data=verdict, timestamp=ctx.clock.now())


async def give_up(ctx: CoreSources, request: Request) -> Envelope[Status]:
    """Stop the test that runs; its scratch schema goes with it."""
    benches = _benches(ctx)
    if not benches.stop():
        raise NotFound("no test runs")
    await ctx.note(request, "database.test_stopped", "test", {})
    return Envelope(data=benches.status, timestamp=ctx.clock.now())


PATH = "/api/database/test"
READ, WRITE = "system:read", "system:write"

ROUTES = [
    Route(method="GET", path=PATH, handler=show_basic, scope=READ, returns=Envelope[BasicTest]),
    Route(
        method="POST",
        path=PATH,
        handler=begin,
        scope=WRITE,
        body=TestOrder,
        status=202,
        returns=Envelope[Status],
    ),
    Route(
        method="PUT",
        path=PATH,
        handler=judge,
        scope=READ,
        body=Validate,
        returns=Envelope[Verdict],
        timeout_seconds=60.0,
    ),
    Route(method="DELETE", path=PATH, handler=give_up, scope=WRITE, returns=Envelope[Status]),
]
