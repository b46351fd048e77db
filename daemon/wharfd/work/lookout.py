"""One look at all queues of a daemon: which have rows that are due or will be soon, which have expired leases.

Without it every queue would have to ask for itself every few seconds, which is what an idle daemon would
mostly do. The queues still ask for themselves, seldom; should one table keep the common look from ending, the
others only become slower to notice what nobody told them of.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
import trio

from ..db import Database, Statement, sql
from .claims import ClaimText
from .queue import Queue
from .retry import spread
from .trouble import DATABASE_TROUBLE
from .waking import Bell

LOOK_SECONDS = 2.0
_FRESH_SECONDS = 3 * LOOK_SECONDS
_TIMEOUT_SECONDS = 5.0
_log = structlog.get_logger("wharfd.work.lookout")


@dataclass(frozen=True, eq=False)
class Watched:
    """A queue that is looked after, and what to ring for due rows and for expired leases."""

    queue: Queue
    due: Bell
    expired: Bell


class Lookout:
    """Looks after the queues that run in this daemon."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: list[Watched] = []
        self._statement: Statement | None = None
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
        watched = list(self._watched)
        if watched:
            if self._statement is None:
                self._statement = sql("work.look", look_text(watched))
            lanes = [value for one in watched for value in one.queue.lane]
            records = await self._database.fetch(self._statement, *lanes, timeout=_TIMEOUT_SECONDS)
            for place, seconds, expired in records:
                one = watched[place]
                if expired:
                    one.expired.ring()
                if seconds is None:
                    continue
                if seconds <= 0:
                    one.due.ring()
                elif seconds < 1.2 * LOOK_SECONDS:
                    one.due.ring_in(seconds)
        self._looked_at = trio.current_time()


def look_text(watched: list[Watched]) -> str:
    """Return one statement over all queues: its place, seconds until a row is due, whether a lease expired.

    A fair queue cannot tell cheaply when it will be due; it looks for itself.
    """
    parts = []
    parameter = 0
    for place, one in enumerate(watched):
        queue = one.queue
        parameter += len(queue.lane)
        text = ClaimText(queue.name, queue.declared, queue.columns)
        due = (
            "NULL::float8" if queue.statements.next_due is None else f"({text.seconds_until_due(parameter)})"
        )
        parts.append(
            f"""SELECT {place}, {due}, EXISTS (
  SELECT FROM {queue.declared.table} r
  WHERE r.state = 'running'{text.lane("r", parameter)} AND r.lease_until < now())"""
        )
    return "\nUNION ALL\n".join(parts)
