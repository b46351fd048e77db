"""Forgetting the nonces of signed requests once their time alone would refuse them."""

from __future__ import annotations

from datetime import timedelta

from wharfd import Schedule

from .parts import Context
from .store.lookup import forget_nonces

_BATCH = 5000


async def forget_old_nonces(ctx: Context) -> None:
    """Remove useless nonces in short statements, until none is left."""
    while await forget_nonces(ctx.db, _BATCH) == _BATCH:
        pass


SCHEDULES = (
    Schedule(name="forget_nonces", handler=forget_old_nonces, every=timedelta(minutes=10), jitter_seconds=30),
)
