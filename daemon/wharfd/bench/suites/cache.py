"""The cache: values that are kept, as most are asked for, and values that have to be computed."""

from __future__ import annotations

from typing import Any

from ...cache import Cache
from ...db import sql
from ..ground import Ground
from ..plan import Figure, figure
from .rows import fill

_RATE = 2000.0
_KEPT_P99_MS = 5.0
_COMPUTED_P99_MS = 100.0
_KEYS = 1000


async def run(ground: Ground) -> list[Figure]:
    """Ask for rows through a cache of our own; under other names than the daemon's, in Redis too."""
    rows = await fill(ground)
    by_id = sql("bench.cached", f"SELECT amount FROM {ground.plan.schema}.payments WHERE id = $1")
    cache = Cache(ground.redis, namespace=ground.plan.schema)
    found = []
    rate = ground.rate(_RATE)

    async def ask(name: str, key: int) -> None:
        async def compute() -> Any:
            return await ground.db.fetchval(by_id, key % rows + 1)

        await cache.get(name, key, compute, ttl=60)

    for key in range(_KEYS):
        await ask("kept", key)
    filled = {"kept": _KEYS, "computed": 0}

    async def kept(number: int) -> None:
        # Some are asked for far more often than others, as customers' pages are.
        await ask("kept", min(number * 7919 % _KEYS, number * 104_729 % _KEYS))

    async def computed(number: int) -> None:
        await ask("computed", _KEYS + number)

    for name, one, p99, asked in (
        ("kept", kept, _KEPT_P99_MS, rate),
        ("computed", computed, _COMPUTED_P99_MS, None if rate is None else min(rate, rate / 4)),
    ):
        rounds = await ground.offered("cache", name, one, asked)
        counted = cache.statistics().names[name]
        hits = counted.local_hits + counted.redis_hits + counted.coalesced
        share = hits / max(1, hits + counted.misses - filled[name])
        levels = "in process and Redis" if ground.redis is not None else "in process"
        found.append(
            figure(
                "cache",
                f"values {name}",
                rounds,
                asked=asked,
                p99_below_ms=p99,
                note=f"{share:.1%} hits, {levels}",
            )
        )
    return found
