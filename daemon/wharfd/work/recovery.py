"""Taking back rows whose worker died: at the start, and four times per lease, by every daemon.

It is one statement and not a job, so nothing can keep it from running. The attempt counts: a row that kills
its workers is buried like one that keeps failing.
"""

from __future__ import annotations

import structlog
import trio

from ..db import Database
from ..errors import DatabaseUnavailable, StatementTimeout
from .finishing import Buried
from .fragments import RECOVER_LIMIT
from .job import key_text
from .queue import Queue
from .retry import spread
from .waking import Bell

_SPREAD_SECONDS = 2.0  # rows of a dead daemon come back over this time, or a tenth of a short lease
_log = structlog.get_logger("wharfd.work.recovery")


class Recovery:
    """Looks for expired leases of one queue."""

    def __init__(self, database: Database, queue: Queue, bell: Bell, buried: Buried) -> None:
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
            except (DatabaseUnavailable, StatementTimeout) as error:
                _log.warning("not_recovered", queue=self._queue.name, error=str(error))
            await trio.sleep(spread(self._queue.declared.lease_seconds / 4, 0.2))

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
                self._buried(queue.name, key_text(tuple(record)[1:]), "the worker died: its lease ran out")
        self._bell.ring_in(over)
        return len(records)
