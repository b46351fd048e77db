"""Refused deliveries: counted by minute and reason, sampled without body, in bounded memory and disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from wharfd import Database, sql

from .admission import Arrival

# The last ones per source, for `wharfd sources list` and the console.
_RECENT = 50
# Reasons are a fixed list, so this bounds sources × reasons × minutes not yet written.
_MAX_CELLS = 2000
_MAX_SHOWN = 200

WRITE = sql(
    "write_refusals",
    """INSERT INTO netbanx.refusals AS r (minute, source, reason, count, sample)
SELECT date_trunc('minute', now()), * FROM
  unnest($1::text[], $2::text[], $3::bigint[], $4::jsonb[]) AS g (source, reason, count, sample)
ORDER BY source, reason
ON CONFLICT (minute, source, reason) DO UPDATE SET count = r.count + excluded.count""",
)


class Sample(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept of a refused delivery: who and why, never what. `user_agent` is cut short."""

    at: datetime
    source: str
    reason: str
    client: str
    path: str
    body_bytes: int
    header_names: list[str]
    user_agent: str | None


@dataclass
class Refusals:
    """Counts refusals until they are written; the newest samples stay readable."""

    recent: dict[str, deque[Sample]] = field(default_factory=dict)
    total: int = 0
    _cells: dict[tuple[str, str], tuple[int, Sample]] = field(default_factory=dict)

    def note(self, source: str, reason: str, arrival: Arrival) -> None:
        """Count a refusal; the first of its kind since the last write is its sample."""
        self.total += 1
        cell = self._cells.get((source, reason))
        if cell is not None:
            self._cells[source, reason] = (cell[0] + 1, cell[1])
            return
        sample = _sample(source, reason, arrival)
        self.recent.setdefault(source, deque(maxlen=_RECENT)).appendleft(sample)
        if len(self._cells) < _MAX_CELLS:
            self._cells[source, reason] = (1, sample)

    async def write(self, database: Database) -> int:
        """Write what was counted since the last time; returns how many. A failure keeps the counts."""
        cells, self._cells = self._cells, {}
        if not cells:
            return 0
        try:
            await database.execute(
                WRITE,
                [source for source, _ in cells],
                [reason for _, reason in cells],
                [count for count, _ in cells.values()],
                [msgspec.to_builtins(sample) for _, sample in cells.values()],
            )
        except BaseException:
            for key, (count, sample) in cells.items():
                self._cells[key] = (self._cells.get(key, (0, sample))[0] + count, sample)
            raise
        return sum(count for count, _ in cells.values())


def _sample(source: str, reason: str, arrival: Arrival) -> Sample:
    agent = next((value for name, value in arrival.headers if name.lower() == b"user-agent"), None)
    return Sample(
        at=arrival.received_at,
        source=source,
        reason=reason,
        client=str(arrival.client or ""),
        path=arrival.path[:_MAX_SHOWN],
        body_bytes=len(arrival.body),
        header_names=[name[:64].decode("latin-1").lower() for name, _ in arrival.headers[:40]],
        user_agent=agent[:_MAX_SHOWN].decode("latin-1").replace("\0", "\ufffd") if agent else None,
    )
