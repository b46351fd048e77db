"""The rate limiter: counts in Redis where it answers, in this process always, in PostgreSQL when asked to."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from ..db import Database
from ..declare import Rate
from ..errors import DatabaseUnavailable, RedisUnavailable
from .durable import DurableBudgets
from .memory import MemoryBudgets
from .shared import RedisBudgets
from .verdict import Budget, Verdict

if TYPE_CHECKING:
    from ..redis.link import RedisLink

_log = structlog.get_logger("wharfd.ratelimit")

_budget = lru_cache(4096)(Budget.of)


class RateLimiter:
    """Decides whether a call is within its rate.

        verdict = await ctx.limits.take("export", identity.owner, Rate(10, 3600))
        if not verdict.allowed: ...

    With Redis, all nodes count together. Each node also keeps its own account, fed with what Redis says: it
    refuses known offenders without asking, and when Redis is away, flushed or wrong, a node goes on from
    what it knows and never admits more than the rate by itself; the verdict then says `degraded`.
    """

    def __init__(
        self,
        link: RedisLink | None,
        *,
        namespace: str,
        database: Database | None = None,
        max_keys: int = 50_000,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        if not namespace:
            raise ValueError("the rate limiter needs a namespace")
        self._namespace = namespace
        self._prefix = ""
        self._own = MemoryBudgets(max_keys, now)  # what this node has taken
        self._seen = MemoryBudgets(max_keys, now)  # what Redis last said all nodes have taken
        self._redis = RedisBudgets(link, namespace) if link is not None else None
        self._durable = DurableBudgets(database) if database is not None else None

    def named(self, prefix: str) -> RateLimiter:
        """Return a view whose names are its own: the same limiter, for one plugin."""
        view = object.__new__(RateLimiter)
        vars(view).update(vars(self), _prefix=f"{self._prefix}{prefix}.")
        return view

    async def take(self, name: str, key: str, rate: Rate, cost: int = 1, *, durable: bool = False) -> Verdict:
        """Take `cost` calls out of the budget of `key`, or nothing when that is more than there is.

        `rate.calls` may come at once, then they come back evenly over `rate.seconds`. `cost` 0 only looks.
        `durable` counts in PostgreSQL instead: exact over all nodes and restarts, for budgets that
        matter; while PostgreSQL is away the answer is no.

        Raises: ValueError when `cost` can never be met.
        """
        if not 0 <= cost <= rate.calls:
            raise ValueError(f"rate {name}: a cost of {cost} can never be met by {rate.calls} calls")
        budget = _budget(rate)
        if durable:
            return await self._take_durable(name, key, budget, cost)
        digest = self._digest(name, key, rate)
        if self._redis is None:
            allowed, level = self._own.take(digest, budget, cost)
            return budget.verdict(allowed, level, cost, source="memory")
        known = max(self._own.level(digest, budget), self._seen.level(digest, budget))
        if budget.after(known, cost) is None:
            return budget.verdict(False, known, cost, source="memory")
        try:
            allowed, level = await self._redis.take(digest, budget, cost)
        except RedisUnavailable:
            return self._take_alone(digest, budget, cost)
        self._seen.learn(digest, budget, level)
        if allowed:
            allowed, own = self._own.take(digest, budget, cost)  # no, when Redis has forgotten what was taken
            level = max(level, own)
        return budget.verdict(allowed, level, cost, source="redis")

    def _take_alone(self, digest: bytes, budget: Budget, cost: int) -> Verdict:
        """Go on from what is known here."""
        known = max(self._own.level(digest, budget), self._seen.level(digest, budget))
        raised = budget.after(known, cost)
        if raised is None:
            return budget.verdict(False, known, cost, source="memory", degraded=True)
        self._own.take(digest, budget, cost)
        self._seen.learn(digest, budget, raised)
        return budget.verdict(True, raised, cost, source="memory", degraded=True)

    async def prune(self) -> int:
        """Remove durable budgets that are whole again; returns how many. Run it now and then."""
        return 0 if self._durable is None else await self._durable.prune()

    async def _take_durable(self, name: str, key: str, budget: Budget, cost: int) -> Verdict:
        if self._durable is None:
            raise ValueError(f"rate {name}: durable budgets need a database")
        try:
            allowed, level = await self._durable.take(self._prefix + name, key, budget, cost)
        except DatabaseUnavailable as exc:
            _log.warning("rate_budget_unavailable", name=self._prefix + name, reason=str(exc))
            return budget.verdict(False, budget.window, max(1, cost), source="database", degraded=True)
        return budget.verdict(allowed, level, cost, source="database")

    def _digest(self, name: str, key: str, rate: Rate) -> bytes:
        # The rate is part of it: a changed rate starts a new budget rather than misreading the old level.
        parts = (self._namespace, self._prefix + name, key, rate.calls, rate.seconds)
        return blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()
