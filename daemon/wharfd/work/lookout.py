"""One look at all queues of a daemon: which have rows that are due or soon will be, or expired leases.

Without it every queue would have to ask for itself every few seconds, which is what an idle daemon would
mostly do. The queues still ask for themselves, seldom; should one table keep the common look from ending, the
others only become slower to notice what nobody told them of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
import trio

from ..db import Database, Statement, sql
from .queue import Queue
from .retry import spread
from .trouble import DATABASE_TROUBLE
from .waking import Bell

LOOK_SECONDS = 2.0
GROUPS_LIMIT = 1000  # lanes and priorities of one table; what lies beyond is found by its queue itself
_FRESH_SECONDS = 3 * LOOK_SECONDS
_TIMEOUT_SECONDS = 5.0
_log = structlog.get_logger("wharfd.work.lookout")


@dataclass(frozen=True, eq=False)
class Watched:
    """A queue that is looked after, and what to ring for due rows and for expired leases."""

    queue: Queue
    due: Bell
    expired: Bell


@dataclass(frozen=True)
class Place:
    """Where rows of queues lie: a table, with the column that tells lanes apart if it has lanes."""

    table: str
    column: str | None
    tells_due: bool


Places = dict[Place, dict[str | None, list[Watched]]]


class Lookout:
    """Looks after the queues that run in this daemon."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: list[Watched] = []
        self._statement: Statement | None = None
        self._places: Places = {}
        self._looked_at = float("-inf")

    @property
    def reliable(self) -> bool:
        """Whether it has looked lately, so that nobody else needs to look often."""
        return trio.current_time() - self._looked_at < _FRESH_SECONDS

    def watch(self, watched: Watched) -> None:
        """Look after a queue from now on."""
        self._watched.append(watched)
        self._statement = None

    def leave(self, watched: Watched) -> None:
        """Look after it no longer."""
        self._watched.remove(watched)
        self._statement = None

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await trio.sleep(spread(LOOK_SECONDS, 0.1))
            try:
                await self.look()
            except DATABASE_TROUBLE as error:
                _log.warning("not_looked", error=str(error))

    async def look(self) -> None:
        """Look once, and ring where there is something to do."""
        if self._statement is None:
            self._places = places(self._watched)
            self._statement = sql("work.look", look_text(list(self._places))) if self._places else None
        if self._statement is not None:
            found = list(self._places.values())
            for place, lane, seconds in await self._database.fetch(self._statement, timeout=_TIMEOUT_SECONDS):
                for one in found[place].get(lane, ()):
                    ring(one, seconds)
        self._looked_at = trio.current_time()


def ring(one: Watched, seconds: float | None) -> None:
    """Ring for a row that is due in so many seconds, or, with None, for an expired lease."""
    if seconds is None:
        one.expired.ring()
    elif seconds <= 0:
        one.due.ring()
    elif seconds < 1.2 * LOOK_SECONDS:
        one.due.ring_in(seconds)


def places(watched: Iterable[Watched]) -> Places:
    """Sort the queues by where their rows lie: by table and lane's column, then by lane."""
    found: Places = {}
    for one in watched:
        declared = one.queue.declared
        column, lane = declared.lane or (None, None)
        place = Place(declared.table, column, declared.fair_by is None)
        found.setdefault(place, {}).setdefault(lane, []).append(one)
    return found


def look_text(found: Sequence[Place]) -> str:
    """Return one statement over all places: number, lane, and seconds until a row is due or NULL for expired.

    It costs a few index probes per table and lane that has rows waiting, and nothing per queue without any.
    The first rows of each lane and priority are found by jumping from one to the next in the index.
    """
    parts = []
    for number, place in enumerate(found):
        table, lane = place.table, f"w.{place.column}::text" if place.column else "NULL::text"
        parts.append(
            f"""SELECT DISTINCT {number}, {lane}, NULL::float8
FROM {table} w WHERE w.state = 'running' AND w.lease_until < now()"""
        )
        if not place.tells_due:  # fair queues look for themselves
            continue
        group = [place.column, "priority"] if place.column else ["priority"]
        ours, last = (", ".join(f"{alias}.{column}" for column in group) for alias in ("w", "groups"))
        same = " AND ".join(f"w.{column} = groups.{column}" for column in group)
        parts.append(
            f"""SELECT {number}, {lane.replace("w.", "first.")}, min(first.seconds) FROM (
  WITH RECURSIVE groups AS (
    (SELECT {ours} FROM {table} w WHERE w.state = 'ready' ORDER BY {ours} LIMIT 1)
    UNION ALL
    SELECT later.* FROM groups CROSS JOIN LATERAL (
      SELECT {ours} FROM {table} w WHERE w.state = 'ready' AND ({ours}) > ({last})
      ORDER BY {ours} LIMIT 1) later
  )
  SELECT groups.*, next.seconds FROM groups CROSS JOIN LATERAL (
    SELECT extract(epoch FROM w.due_at - now())::float8 AS seconds FROM {table} w
    WHERE w.state = 'ready' AND {same} ORDER BY w.due_at LIMIT 1) next
  LIMIT {GROUPS_LIMIT}) first GROUP BY 2"""
        )
    return "\nUNION ALL\n".join(parts)
