"""What all daemons together do per queue and minute: each adds its share every few seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
import trio

from ..db import Database, sql
from .queue import Queue
from .trouble import DATABASE_TROUBLE

FLUSH_SECONDS = 10.0
_KEPT_HOURS = 24
_FIELDS = ("arrived", "started", "done", "retried", "buried", "lost")
_ADD = sql(
    "work.add_rates",
    f"""INSERT INTO wharfd.queue_rates AS r (queue, minute, {", ".join(_FIELDS)})
SELECT u.queue, date_trunc('minute', now()), {", ".join(f"u.{f}" for f in _FIELDS)}
FROM unnest($1::text[], {", ".join(f"${i}::bigint[]" for i in range(2, 8))})
  AS u (queue, {", ".join(_FIELDS)})
ORDER BY u.queue
ON CONFLICT (queue, minute) DO UPDATE SET {", ".join(f"{f} = r.{f} + excluded.{f}" for f in _FIELDS)}""",
)
_FORGET = sql(
    "work.forget_rates", "DELETE FROM wharfd.queue_rates WHERE minute < now() - make_interval(hours => $1)"
)
_log = structlog.get_logger("wharfd.work.rates")


class Rates:
    """Adds what the counters of the queues gained to the table."""

    def __init__(self, database: Database, queues: Callable[[], Iterable[Queue]]) -> None:
        self._database = database
        self._queues = queues
        self._before: dict[str, tuple[int, ...]] = {}

    async def run(self) -> None:
        """Add every few seconds until cancelled, and once more at the end."""
        flushes = 0
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                await self.flush()
                if flushes % 360 == 0:
                    await self._attempt(self._database.execute(_FORGET, _KEPT_HOURS))
                flushes += 1
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                await self.flush()

    async def flush(self) -> None:
        """Add what is new; what cannot be written now is added the next time."""
        gained: list[tuple[str, tuple[int, ...]]] = []
        now: dict[str, tuple[int, ...]] = {}
        for queue in self._queues():
            values = tuple(getattr(queue.counters, field) for field in _FIELDS)
            before = self._before.get(queue.name, (0,) * len(_FIELDS))
            if values != before:
                gained.append((queue.name, tuple(v - b for v, b in zip(values, before, strict=True))))
                now[queue.name] = values
        if not gained:
            return
        columns = [[share[i] for _, share in gained] for i in range(len(_FIELDS))]
        if await self._attempt(self._database.execute(_ADD, [name for name, _ in gained], *columns)):
            self._before.update(now)

    async def _attempt(self, call: Awaitable[int]) -> bool:
        try:
            await call
        except DATABASE_TROUBLE as error:
            _log.info("rates_not_written", error=str(error))
            return False
        return True
