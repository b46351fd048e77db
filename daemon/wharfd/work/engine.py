"""The work engine of a daemon: it knows the queues, runs them, and carries wake-ups to and fro."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from ..db import Database
from ..declare import WorkQueue
from ..errors import WorkTableError
from .control import Audit, Work
from .finishing import Buried
from .lookout import Lookout
from .queue import Enrich, Queue
from .rates import Rates
from .runner import Runner
from .table import look
from .waking import Wakeups

_log = structlog.get_logger("wharfd.work.engine")


class WorkEngine:
    """One per daemon. `node` names the daemon and must differ between daemons on one database.

    With `keep_rates=False` what its queues do is not added to the table of rates: for queues nobody watches.

    `buried(queue, key, reason)` hears of every row that is given up; `audit(tx, actor, action, subject,
    detail)` records what people do to queues, in the same transaction.
    """

    def __init__(
        self,
        database: Database,
        *,
        node: str,
        buried: Buried | None = None,
        audit: Audit | None = None,
        keep_rates: bool = True,
    ) -> None:
        self.database = database
        self.node = node
        self.queues: dict[str, Queue] = {}
        self.wakeups = Wakeups(database, node)
        self.work = Work(database, self.wakeups, self.queues, audit)
        self.buried = buried
        self._rates = Rates(database, self.queues.values) if keep_rates else None
        self._lookout = Lookout(database)

    async def prepare(
        self, plugin: str, declared: WorkQueue, *, enrich: Enrich | None = None, forget: str = ""
    ) -> Queue:
        """Take a declaration in: look at its table and write its statements.

        Raises `WorkTableError` when the table cannot be worked as declared.
        """
        name = f"{plugin}.{declared.name}"
        columns = await look(self.database, declared)
        before = self.queues.get(name)
        if before is not None and before.declared.table != declared.table:
            raise WorkTableError(
                f"queue {name} is declared for {before.declared.table} and for {declared.table}; rename one"
            )
        queue = Queue(name, declared, columns, enrich, forget)
        if before is not None:
            queue.counters = before.counters
        self.queues[name] = queue
        return queue

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry wake-ups, look out, keep rates; one task per daemon, before any queue, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wakeups.tell)
            nursery.start_soon(self.wakeups.hear)
            if self._rates is not None:
                nursery.start_soon(self._rates.run)
            nursery.start_soon(self._lookout.run)
            task_status.started()

    def runner(self, queue: Queue, ctx: Any) -> Runner:
        """Return what works one queue with a plugin's context."""
        return Runner(self.database, queue, ctx, self.wakeups.bell(queue.name), self._give_up, self._lookout)

    async def run_queues(
        self,
        queues: Sequence[Queue],
        ctx: Any,
        *,
        stop: trio.Event,
        stop_seconds: float = 10.0,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Work the queues of a plugin in its nursery until `stop` is set, then end within `stop_seconds`.

        Nothing that handlers do comes out of here. Cancellation: as `stop` with no time left.
        """
        runners = [self.runner(queue, ctx) for queue in queues]
        async with trio.open_nursery() as nursery:
            for runner in runners:
                await nursery.start(runner.run)
            task_status.started()
            await stop.wait()
            for runner in runners:
                runner.stop(stop_seconds)

    def _give_up(self, queue: str, key: str, reason: str) -> None:
        if self.buried is None:
            return
        try:
            self.buried(queue, key, reason)
        except Exception:
            _log.exception("observer_failed", queue=queue, row=key)
