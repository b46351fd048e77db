"""Budgets in this process, by the monotonic clock, bounded in number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .verdict import Budget


class MemoryBudgets:
    """The levels this node knows of. When there are too many, the one longest untouched is forgotten."""

    def __init__(self, max_keys: int, now: Callable[[], float]) -> None:
        self._max_keys = max_keys
        self._now = now
        self._whole_at: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._whole_at)

    def level(self, digest: bytes, budget: Budget) -> int:
        """Return the level of a budget."""
        whole_at = self._whole_at.get(digest)
        return 0 if whole_at is None else min(max(0, whole_at - self._micros()), budget.window)

    def take(self, digest: bytes, budget: Budget, cost: int) -> tuple[bool, int]:
        """Take from a budget; returns whether that was possible and the level then."""
        level = self.level(digest, budget)
        raised = budget.after(level, cost)
        if raised is None:
            return False, level
        self._set(digest, raised)
        return True, raised

    def learn(self, digest: bytes, budget: Budget, level: int) -> None:
        """Take over a level seen elsewhere, if it is higher: what was spent stays spent."""
        if level > self.level(digest, budget):
            self._set(digest, min(level, budget.window))

    def _set(self, digest: bytes, level: int) -> None:
        now = self._micros()
        self._whole_at[digest] = now + level
        self._whole_at.move_to_end(digest)
        oldest = next(iter(self._whole_at))
        if len(self._whole_at) > self._max_keys or self._whole_at[oldest] <= now:
            del self._whole_at[oldest]

    def _micros(self) -> int:
        return int(self._now() * 1_000_000)
