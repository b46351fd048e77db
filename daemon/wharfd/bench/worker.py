"""Carries a bench out in a process of its own, beside the daemon.

The first line on stdin says where everything is and what to do. Every line on stdout is a `Said`. When stdin
ends before the work does, whoever asked is gone, and the run is given up.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import msgspec
import structlog
import trio

from ..db import DatabaseSettings, open_bridge, open_database
from ..db.bridge import unwrapped
from ..errors import WharfdError
from ..redis.link import open_redis
from . import scratch
from .ground import Ground
from .machine import describe_machine
from .plan import Order, Report, Said
from .suites import RUN

_POOL = 16


def say(said: Said) -> None:
    """Write a line."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


async def carry_out(order: Order) -> Report:
    """Make the scratch schema, run the suites, drop it again."""
    targets, plan = order.targets, order.plan
    settings = DatabaseSettings(
        url=targets.url,
        owner_url=targets.owner_url,
        pgbouncer=targets.pgbouncer,
        pool_size=_POOL,
        application_name="wharfd bench",
    )
    began, began_at = trio.current_time(), datetime.now(UTC)
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(open_bridge())
        db = await stack.enter_async_context(open_database(bridge, settings))
        redis = None
        if targets.redis_url is not None:
            redis = await stack.enter_async_context(open_redis(bridge, targets.redis_url))
        machine = await describe_machine(db)
        ground = Ground(
            db=db,
            redis=redis,
            plan=plan,
            node=f"bench-{os.getpid()}",
            heard=lambda progress: say(Said(progress=progress)),
            total=sum(RUN[suite][1] for suite in plan.suites) * (plan.rounds + 1),
        )
        figures, problems = [], []
        try:
            await scratch.make(db, plan.schema)
            for suite in plan.suites:
                try:
                    figures += await RUN[suite][0](ground)
                except Exception as error:
                    problems.append(f"{suite}: {_sentence(error)}")
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 20):
                await scratch.drop(db, plan.schema)
    return Report(
        began=began_at,
        seconds=round(trio.current_time() - began, 1),
        plan=plan,
        machine=machine,
        figures=figures,
        problems=problems,
    )


def _sentence(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return str(error) if isinstance(error, WharfdError) else f"{type(error).__name__}: {error}"


async def _until_alone(scope: trio.CancelScope) -> None:
    await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
    scope.cancel()


async def obey() -> int:
    """Do what the first line says; 0 when there is a report."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    if order.nice:
        os.nice(order.nice)
    try:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_alone, nursery.cancel_scope)
                report = await carry_out(order)
                say(Said(report=report))
                nursery.cancel_scope.cancel()
                return 0
    except Exception as error:
        say(Said(error=_sentence(error)))
    return 1


def main() -> None:
    """Be the worker; stdout carries the protocol, so whatever is logged goes to stderr."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    sys.exit(trio.run(obey))
