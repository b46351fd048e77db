"""The link to Redis, which is a hint (law 1): it fails fast, and whoever calls goes on without it."""

from __future__ import annotations

from .link import RedisHealth, RedisLink, RedisStatistics, Script, open_redis
from .subscription import Subscription

__all__ = ["RedisHealth", "RedisLink", "RedisStatistics", "Script", "Subscription", "open_redis"]
