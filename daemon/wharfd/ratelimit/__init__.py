"""Rate limits: how often something may happen per key. `docs/cache.md` has a section on them."""

from __future__ import annotations

from ..declare import Rate
from .limiter import RateLimiter
from .verdict import Verdict

__all__ = ["Rate", "RateLimiter", "Verdict"]
