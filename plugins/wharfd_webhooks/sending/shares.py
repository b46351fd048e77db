"""This daemon's share of each endpoint's limits, so that they hold over all daemons together.

Every daemon that sends says so in `webhooks.senders` every few seconds. With N of them, each takes an Nth of
an endpoint's rate and of its sends under way; what is left over of the latter goes to some of them, to other
ones for other endpoints. Each gets one at least; where the limit is below N, they take turns (`turns.py`).

A daemon that died keeps its share until it has not been seen for `ALIVE_SECONDS`. One that has just started
is known to the others after `BEAT_SECONDS` at the latest; until then an endpoint may see more than its limit.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import trio

from wharfd import DatabaseUnavailable, Overloaded, PluginContext, StatementTimeout, new_id, sql

from ..config import Settings
from ..model.endpoint import Endpoint

BEAT_SECONDS = 5.0
ALIVE_SECONDS = 16.0
_MOST_KEPT = 20_000

BEAT = sql(
    "beat",
    """
    WITH mine AS (
      INSERT INTO webhooks.senders (id) VALUES ($1)
      ON CONFLICT (id) DO UPDATE SET seen_at = now()
    ), gone AS (
      DELETE FROM webhooks.senders WHERE id = ANY (ARRAY(
        SELECT id FROM webhooks.senders WHERE seen_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED))
    )
    SELECT count(*)::int AS others, (count(*) FILTER (WHERE id < $1))::int AS before
      FROM webhooks.senders WHERE id <> $1 AND seen_at > now() - make_interval(secs => $2)
    """,
)
LEAVE = sql("leave", "DELETE FROM webhooks.senders WHERE id = $1")


class Shares:
    """Knows how many daemons send and which of them this one is."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx
        self._id = own_id(ctx.state_dir)
        self.daemons = 1
        self.place = 0
        self._kept: dict[str, tuple[Endpoint, Endpoint]] = {}

    async def run(self, *, started: Callable[[], None] = lambda: None) -> None:
        """Keep this daemon known until cancelled."""
        started()
        while True:
            await trio.sleep(BEAT_SECONDS)
            try:
                await self.beat()
            except (DatabaseUnavailable, StatementTimeout, Overloaded) as error:
                self._ctx.log.warning("sender_not_renewed", error=str(error))

    async def beat(self) -> None:
        """Say that this daemon sends, and see which others do."""
        row = await self._ctx.db.fetchrow(BEAT, self._id, ALIVE_SECONDS)
        assert row is not None
        daemons, place = 1 + row["others"], row["before"]
        if (daemons, place) != (self.daemons, self.place):
            self._ctx.log.info("senders_changed", daemons=daemons)
            self._kept.clear()
        self.daemons, self.place = daemons, place

    async def leave(self) -> None:
        """Give the share to the others at once."""
        await self._ctx.db.execute(LEAVE, self._id)

    def of(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with this daemon's part of its limits."""
        if self.daemons == 1:
            return endpoint
        kept = self._kept.get(endpoint.id)
        if kept is not None and kept[0] is endpoint:
            return kept[1]
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        rate = endpoint.rate_per_second
        part = replace(
            endpoint,
            max_in_flight=share(endpoint.max_in_flight, self.daemons, self.place, endpoint.id),
            rate_per_second=None if rate is None else rate / self.daemons,
        )
        self._kept[endpoint.id] = (endpoint, part)
        return part


def own_id(state_dir: Path | None) -> str:
    """Return the same id for a daemon that is started again, so that it takes its own share over at once."""
    if state_dir is None:
        return new_id("snd")
    place = f"{socket.gethostname()}\0{state_dir.resolve()}"
    return f"snd_{blake2b(place.encode(), digest_size=13).hexdigest()}"


def share(most: int, daemons: int, place: int, endpoint_id: str) -> int:
    """Return how many of `most` the daemon at this place gets: together that many, but one each at least."""
    each, rest = divmod(most, daemons)
    return max(1, each + ((place + zlib.crc32(endpoint_id.encode())) % daemons < rest))
