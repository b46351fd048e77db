"""Stores a group of admissions in one commit, and finds the row at fault when the group fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any

import trio

from ..declare import Handler
from ..errors import DatabaseUnavailable
from .failures import describe, is_collision, is_outage, sole_cause
from .message import Reply

TransactionFactory = Callable[[], AbstractAsyncContextManager[Any]]
DatabaseFactory = Callable[[str], Any]

_COLLISIONS = 5
_COLLISION_SECONDS = 0.02
_HOPELESS = 8  # so many rows at fault and not one stored: it is the store function, not the rows


class StoreError(Exception):
    """The store function answered with something that is not one reply per admission."""


def own_database(ctx: Any, databases: DatabaseFactory | None) -> Any:
    """Return the database a store function that commits by itself is given."""
    return ctx.db if databases is None else databases(ctx.name)


async def store_group(
    transaction: TransactionFactory,
    store: Handler,
    ctx: Any,
    admissions: Sequence[Any],
    *,
    attempt_seconds: float,
    database: Any = None,
) -> list[Reply | Exception]:
    """Store admissions with a route's `store` and return for each its reply, or why it cannot be stored.

    With `database` the store function gets that in place of a transaction, and commits by itself.

    All in one commit if that works. Otherwise the group is halved until the rows at fault stand alone, so
    they fail by themselves and the others are stored. Raises, with nothing decided, when the database is away
    (`failures.is_outage`) or an attempt took longer than `attempt_seconds`; rows already committed in halves
    come back as duplicates when the whole is stored again.
    """
    outcomes: list[Reply | Exception] = []
    pending = [list(admissions)]
    while pending:
        part = pending.pop()
        if len(outcomes) >= _HOPELESS and all(isinstance(outcome, Exception) for outcome in outcomes):
            outcomes += [outcomes[-1]] * len(part)
            continue
        try:
            opened = transaction if database is None else partial(nullcontext, database)
            outcomes += await _store_whole(opened, store, ctx, part, attempt_seconds)
        except Exception as error:
            cause = sole_cause(error)
            if is_outage(cause):
                raise cause from error
            if len(part) == 1:
                outcomes.append(cause)
            else:
                middle = len(part) // 2
                pending += [part[middle:], part[:middle]]
    return outcomes


async def _store_whole(
    transaction: TransactionFactory,
    store: Handler,
    ctx: Any,
    admissions: Sequence[Any],
    attempt_seconds: float,
) -> Sequence[Reply]:
    for collision in range(_COLLISIONS):
        opened = False
        try:
            with trio.fail_after(attempt_seconds):
                async with transaction() as tx:
                    opened = True
                    replies: Sequence[Reply] = await store(ctx, tx, admissions)
                    if len(replies) != len(admissions):
                        raise StoreError(
                            f"{store!r} returned {len(replies)} replies for {len(admissions)} admissions;"
                            " return one each, in the same order"
                        )
                return replies
        except Exception as error:
            if not opened:  # whatever it is, no row can be at fault
                raise DatabaseUnavailable(f"no transaction could be opened: {describe(error)}") from error
            if not is_collision(sole_cause(error)) or collision == _COLLISIONS - 1:
                raise
            await trio.sleep(random.uniform(0, _COLLISION_SECONDS * 2**collision))  # noqa: S311 - spreads load
    raise AssertionError("every turn of the loop returns or raises")
