"""Taking back rows whose worker died: at the start, when the lookout sees some, and now and then.

It is one statement and not a job, so nothing can keep it from running. The attempt counts: a row that kills
its workers is buried like one that keeps failing, but not before ten tries.
"""

from __future__ import annotations

import structlog

from ..db import Database
from .finishing import Buried
from .fragments import RECOVER_LIMIT
from .job import key_text
from .lookout import Lookout
from .queue import Queue
from .retry import spread
from .trouble import DATABASE_TROUBLE
from .waking import Bell

DIED = "the worker died: its lease ran out"
_SPREAD_SECONDS = 2.0  # rows of a dead daemon come back over this time, or a tenth of a short lease
_log = structlog.get_logger("wharfd.work.recovery")


class Recovery:
    """Looks for expired leases of one queue."""

    def __init__(
        self, database: Database, queue: Queue, bell: Bell, buried: Buried, lookout: Lookout
    ) -> None:
        self.expired = Bell()
        self._lookout = lookout
        self._database = database
        self._queue = queue
        self._bell = bell
        self._buried = buried

    async def run(self) -> None:
        """Recover now and again until cancelled."""
        while True:
            try:
                while await self.recover() >= RECOVER_LIMIT:
                    pass
            except DATABASE_TROUBLE as error:
                _log.warning("not_recovered", queue=self._queue.name, error=str(error))
            looks = 1 if self._lookout.reliable else 4  # per lease
            await self.expired.wait(spread(self._queue.declared.lease_seconds / looks, 0.2))
            self.expired.hush()

    async def recover(self) -> int:
        """Offer again, or bury, rows whose lease ran out; return how many there were."""
        queue = self._queue
        over = min(_SPREAD_SECONDS, queue.declared.lease_seconds / 10)
        records = await self._database.fetch(
            queue.statements.recover, queue.declared.retry.attempts, over, *queue.lane
        )
        if not records:
            return 0
        queue.counters.recovered += len(records)
        _log.warning("work_recovered", queue=queue.name, rows=len(records))
        for record in records:
            if record["wharfd_state"] == "buried":
                queue.counters.buried += 1
                row = key_text(tuple(record)[1:])
                _log.error("work_buried", queue=queue.name, row=row, reason=DIED)
                self._buried(queue.name, row, DIED)
        self._bell.ring_in(over)
        return len(records)
