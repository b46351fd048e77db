"""Counts what the cache did, per name."""

from __future__ import annotations

from dataclasses import dataclass, field

_MAX_NAMES = 1000


@dataclass
class NameStatistics:
    """What happened under one name since the start.

    `coalesced` waited for somebody else's compute; `stale` values were overtaken by an invalidation and not
    kept; `lies` were found in Redis but not what was stored; `away` could not ask Redis; `oversized` values
    are larger than what is kept.
    """

    local_hits: int = 0
    redis_hits: int = 0
    misses: int = 0
    coalesced: int = 0
    failures: int = 0
    stale: int = 0
    lies: int = 0
    away: int = 0
    oversized: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The share of calls that needed no compute of their own; None before the first call."""
        hits = self.local_hits + self.redis_hits + self.coalesced
        return hits / (hits + self.misses) if hits + self.misses else None


@dataclass(frozen=True)
class CacheStatistics:
    """The state of the cache as a whole."""

    names: dict[str, NameStatistics] = field(default_factory=dict)
    entries: int = 0
    bytes: int = 0
    evicted: int = 0
    invalidations: int = 0
    heard: int = 0
    pending_invalidations: int = 0
    listening: bool = False
    redis: str = "none"

    @property
    def hit_rate(self) -> float | None:
        """The share of all calls that needed no compute of their own."""
        hits = sum(n.local_hits + n.redis_hits + n.coalesced for n in self.names.values())
        calls = hits + sum(n.misses for n in self.names.values())
        return hits / calls if calls else None


class Counters:
    """The counters of all names; names past a bound share one."""

    def __init__(self) -> None:
        self._names: dict[str, NameStatistics] = {}

    def of(self, name: str) -> NameStatistics:
        """Return the counter of a name."""
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= _MAX_NAMES:
                name = "(others)"
            found = self._names.setdefault(name, NameStatistics())
        return found

    def snapshot(self, prefix: str = "") -> dict[str, NameStatistics]:
        """Return copies, by name without its prefix."""
        return {
            name.removeprefix(prefix): NameStatistics(**vars(counted))
            for name, counted in self._names.items()
            if name.startswith(prefix)
        }
