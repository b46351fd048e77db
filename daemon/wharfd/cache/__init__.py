"""The cache: in-process, then Redis; single flight, tags, statistics. `docs/cache.md` is the guide."""

from __future__ import annotations

from .engine import CacheLimits
from .facade import Cache
from .statistics import CacheStatistics, NameStatistics

__all__ = ["Cache", "CacheLimits", "CacheStatistics", "NameStatistics"]
