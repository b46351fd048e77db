"""Budgets in Redis, by its clock, so that all nodes count together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..redis.scripts import Script
from .verdict import Budget

if TYPE_CHECKING:
    from ..redis.link import RedisLink

# Whatever else lies under the key (garbage, a time far ahead as after a clock that was set back) is brought
# into range.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local whole_at = tonumber(redis.call('GET', KEYS[1]) or '')
if not whole_at or whole_at ~= whole_at or whole_at < now then whole_at = now end
if whole_at > now + window then whole_at = now + window end
local raised = whole_at + cost * interval
if raised - now > window then return {0, whole_at - now} end
if raised > now then
    redis.call('SET', KEYS[1], string.format('%.0f', raised), 'PX', math.ceil((raised - now) / 1000))
end
return {1, raised - now}
""")


class RedisBudgets:
    """Takes from budgets in Redis; may raise `RedisUnavailable`."""

    def __init__(self, link: RedisLink, namespace: str) -> None:
        self._link = link
        self._prefix = f"{namespace}:r:".encode()

    async def take(self, digest: bytes, budget: Budget, cost: int) -> tuple[bool, int]:
        """Take from a budget; returns whether that was possible and the level then."""
        key = self._prefix + digest.hex().encode()
        allowed, level = await self._link.script(_TAKE, [key], budget.interval, budget.window, cost)
        return bool(allowed), int(level)
