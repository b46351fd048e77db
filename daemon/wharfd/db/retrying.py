"""Repeating a whole unit of work after a failure that says "try again"."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import structlog
import trio
from asyncpg import exceptions

from ..errors import CommitUnknown, DatabaseUnavailable
from .transaction import Transaction

T = TypeVar("T")

_log = structlog.get_logger("wharfd.db.retrying")
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 2.0
_CONFLICTS = (exceptions.SerializationError, exceptions.DeadlockDetectedError)


def pause_seconds(attempt: int) -> float:
    """Return the pause after the given failed attempt (1, 2 …): doubling, capped, with full jitter."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 20))
    return random.uniform(longest / 4, longest)  # noqa: S311


async def repeat(
    begin: Callable[[], AbstractAsyncContextManager[Transaction]],
    unit: Callable[[Transaction], Awaitable[T]],
    *,
    attempts: int,
    idempotent: bool,
) -> T:
    """Run the unit until it commits; raises the last failure when the attempts are used up."""
    if attempts < 1:
        raise ValueError("attempts must be at least 1")
    for attempt in range(1, attempts + 1):
        try:
            async with begin() as transaction:
                result = await unit(transaction)
            return result
        except CommitUnknown:
            if not idempotent or attempt == attempts:
                raise
            reason = "commit_unknown"
        except (*_CONFLICTS, DatabaseUnavailable) as error:
            if attempt == attempts:
                raise
            reason = type(error).__name__
        _log.info("unit_repeated", unit=getattr(unit, "__qualname__", "?"), attempt=attempt, reason=reason)
        await trio.sleep(pause_seconds(attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")
