"""The usage log on its way to the database: noted without waiting, written every second in one COPY.

Rows wait in bounded memory. Over the bound new ones are dropped and counted: a slow database never slows a
request down. When a key was last used is written at most once a minute per key.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus

import structlog
import trio
from asyncpg import InterfaceError, PostgresError

from wharfd import Clock, Database, DatabaseUnavailable, PluginMetrics, StatementTimeout

from .model.record import KeyIdentity
from .store.usage_rows import UsageRow, Use, write_usage, write_uses

FLUSH_SECONDS = 1.0
USE_SECONDS = 60.0
_BATCH_ROWS = 5000
_LAST_FLUSH_SECONDS = 5.0


class UsageLog:
    """Holds up to `most` rows, and one count per key used in the last minute."""

    def __init__(
        self,
        db: Database,
        *,
        clock: Clock,
        metrics: PluginMetrics,
        log: structlog.stdlib.BoundLogger,
        most: int,
    ) -> None:
        self._db = db
        self._clock = clock
        self._log = log
        self._most = most
        self._rows: deque[UsageRow] = deque()
        self._uses: dict[str, Use] = {}
        self._written_at: dict[str, float] = {}
        self._dropped = metrics["usage_dropped_total"]
        self._written = metrics["usage_written_total"]
        self._waiting = metrics["usage_waiting"]
        self.dropped = 0
        self.failing_since: float | None = None

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return len(self._rows)

    @property
    def fullness(self) -> float:
        """How much of the bound is used, 0 to 1."""
        return len(self._rows) / self._most

    def note(self, identity: KeyIdentity, *, endpoint: str, status: int, seconds: float) -> None:
        """Note one answered request; never waits."""
        now = self._clock.now()
        use = self._uses.get(identity.subject)
        count = 1 if use is None else use.times + 1
        self._uses[identity.subject] = Use(
            identity.subject, identity.integration_id, now, count, identity.client
        )
        if len(self._rows) >= self._most:
            self._drop(1)
            return
        self._rows.append(
            UsageRow(
                at=now,
                key_id=identity.subject,
                integration_id=identity.integration_id,
                owner=identity.owner,
                endpoint=endpoint[:200],
                method=identity.method[:20],
                status=status,
                ms=round(seconds * 1000, 3),
                error=_phrase(status),
                client=identity.client,
            )
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write every second until cancelled, and once more then."""
        task_status.started()
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            with trio.move_on_after(_LAST_FLUSH_SECONDS, shield=True):
                await self.flush(everything=True)
            if self._rows:
                self._log.warning("usage_lost_at_stop", rows=len(self._rows))

    async def flush(self, *, everything: bool = False) -> None:
        """Write what waits. What PostgreSQL cannot take now waits on; `everything` ignores the minute."""
        try:
            while self._rows:
                await self._write_batch()
            await self._write_uses(everything=everything)
        except (DatabaseUnavailable, StatementTimeout) as error:
            if self.failing_since is None:
                self.failing_since = trio.current_time()
                self._log.warning("usage_waits", reason=str(error), rows=len(self._rows))
        else:
            self.failing_since = None
        finally:
            self._waiting.set(len(self._rows))

    async def _write_batch(self) -> None:
        batch = [self._rows.popleft() for _ in range(min(len(self._rows), _BATCH_ROWS))]
        done = False
        try:
            await write_usage(self._db, batch)
            done = True
            self._written.inc(len(batch))
        except (DatabaseUnavailable, StatementTimeout):
            raise
        except (PostgresError, InterfaceError, ValueError) as error:
            # The database refuses these rows and would again: one bad batch must not hold up the rest.
            done = True
            self._drop(len(batch))
            self._log.error("usage_refused", rows=len(batch), exc_info=error)
        finally:
            if not done:
                room = max(0, self._most - len(self._rows))
                self._drop(max(0, len(batch) - room))
                self._rows.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))

    async def _write_uses(self, *, everything: bool) -> None:
        now = trio.current_time()
        due = [
            use
            for key, use in self._uses.items()
            if everything or now - self._written_at.get(key, float("-inf")) >= USE_SECONDS
        ]
        if due:
            for use in due:
                del self._uses[use.key_id]
            done = False
            try:
                await self._db.repeat(lambda tx: write_uses(tx, due))
                done = True
            finally:
                if not done:
                    for use in due:
                        self._give_back(use)
            self._written_at |= {use.key_id: now for use in due}
        self._written_at = {key: at for key, at in self._written_at.items() if now - at < USE_SECONDS}

    def _give_back(self, use: Use) -> None:
        newer = self._uses.get(use.key_id)
        self._uses[use.key_id] = use if newer is None else newer._replace(times=newer.times + use.times)

    def _drop(self, count: int) -> None:
        if count:
            self.dropped += count
            self._dropped.inc(count)


def _phrase(status: int) -> str | None:
    if status < 400:
        return None
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "caller gone" if status == 499 else f"status {status}"
