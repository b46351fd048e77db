"""The SQL that takes rows, and that tells when there will be some to take.

Parameters of a claim: $1 rows wanted, $2 the new claim, $3 lease seconds, $4 the queue's name; then, in this
order and only where they apply, the lane, and for fair queues rows per key, rows running per key, and the
key to go on after.
"""

from __future__ import annotations

from ..db import Statement
from .fragments import ASYNC, FREE, KEYS_PER_CLAIM, Text, among, blocking


class ClaimText(Text):
    """Writes the statements that claim."""

    def levels(self, lane: int) -> str:
        """Name the priorities in use, by jumping from one to the next in the index.

        Without it, rows of a high priority that are not due yet would all be read on the way to those
        that are.
        """
        return f"""levels (priority) AS (
  (SELECT w.priority FROM {self.table} w WHERE {self.ready("w", lane)} ORDER BY w.priority LIMIT 1)
  UNION ALL
  SELECT (SELECT w.priority FROM {self.table} w
          WHERE {self.ready("w", lane)} AND w.priority > levels.priority ORDER BY w.priority LIMIT 1)
  FROM levels WHERE levels.priority IS NOT NULL
)"""

    def take(self, more: str = "") -> str:
        """Mark what was picked as running and return it. NO KEY UPDATE: foreign keys need not wait."""
        row = "".join(f", w.{column}" for column in self.columns.row)
        return f"""UPDATE {self.table} w
  SET state = 'running', attempts = w.attempts + 1, claim = $2,
    lease_until = now() + make_interval(secs => $3)
  WHERE {among("w", "picked", self.key)}
  RETURNING w.attempts AS wharfd_attempt, w.priority AS wharfd_priority,
    extract(epoch FROM now() - w.due_at)::float8 AS wharfd_late, {self.keys("w")}{row}{more}"""

    def claim(self) -> Statement:
        """Take due rows by priority, then age."""
        return self.named(
            "claim",
            f"""WITH RECURSIVE {self.levels(5)}, picked AS MATERIALIZED (
  SELECT due.* FROM levels CROSS JOIN LATERAL (
    SELECT {self.keys("w")} FROM {self.table} w
    WHERE {self.ready("w", 5)} AND w.priority = levels.priority AND w.due_at <= now()
    ORDER BY w.due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) due
  WHERE {FREE} AND (SELECT {ASYNC})
  LIMIT $1
)
{self.take()}""",
        )

    def fair_claim(self, *, on: bool) -> Statement:
        """Walk over the keys that have ready rows, a few rows of each; `on` goes on after a given key.

        The walk stops when enough is picked, so the key it stopped at is where the next one goes on.
        """
        queue = self.queue
        by = queue.fair_by
        share = 6 if queue.lane else 5
        per_key, after = share + 1, share + 2
        if queue.ordered or queue.per_key is None:
            after = share if queue.ordered else share + 1
        ready = self.ready("w", 5)
        first = f" AND w.{by} > ${after}" if on else ""
        taken = self.take(f", w.{by} AS wharfd_by")
        due = self.head() if queue.ordered else self.some(share, per_key)
        return self.named(
            "claim_on" if on else "claim",
            f"""WITH RECURSIVE keys (value, number) AS (
  (SELECT w.{by}, 1 FROM {self.table} w WHERE {ready}{first} ORDER BY w.{by} LIMIT 1)
  UNION ALL
  SELECT (SELECT w.{by} FROM {self.table} w WHERE {ready} AND w.{by} > keys.value ORDER BY w.{by} LIMIT 1),
    keys.number + 1
  FROM keys WHERE keys.value IS NOT NULL AND keys.number < {KEYS_PER_CLAIM}
), picked AS MATERIALIZED (
  SELECT due.*, keys.number, keys.value FROM keys CROSS JOIN LATERAL ({due}) due
  WHERE keys.value IS NOT NULL AND {FREE} AND (SELECT {ASYNC})
  LIMIT $1
), taken AS (
  {taken}
)
SELECT walk.number AS wharfd_walked,
  coalesce(walk.value, (SELECT picked.value FROM picked ORDER BY picked.number DESC LIMIT 1)) AS wharfd_last,
  taken.*
FROM (VALUES (1)) always LEFT JOIN (
  SELECT keys.number, keys.value FROM keys
  WHERE keys.value IS NOT NULL AND (SELECT count(*) FROM picked) < $1 ORDER BY keys.number DESC LIMIT 1
) walk ON true LEFT JOIN taken ON true""",
        )

    def some(self, share: int, per_key: int) -> str:
        """Pick up to a share of a key's due rows, and no more than may run of it at a time."""
        by = self.queue.fair_by
        limit = f"${share}::int"
        if self.queue.per_key is not None:
            limit = f"""least({limit}, ${per_key}::int - (SELECT count(*) FROM (
        SELECT FROM {self.table} r
        WHERE r.state = 'running'{self.lane("r", 5)} AND r.{by} = keys.value
        LIMIT ${per_key}::int) running))"""
        return f"""
    SELECT {self.keys("w")} FROM {self.table} w
    WHERE {self.ready("w", 5)} AND w.{by} = keys.value AND w.due_at <= now()
    ORDER BY w.priority, w.due_at LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED"""

    def head(self) -> str:
        """Pick the first unfinished row of a key, if it is ready and due.

        The lock is taken around the row that was found to be first: should another daemon have taken it in
        the meantime, the look at its newest version yields nothing, and never the second row. (The odd
        comparison keeps the planner from reading the index of all ready rows for it.)
        """
        by = self.queue.fair_by
        return f"""
    SELECT {self.keys("w")} FROM (
      SELECT {self.keys("h")} FROM {self.table} h
      WHERE h.state IN ({blocking(self.queue)}){self.lane("h", 5)} AND h.{by} = keys.value
      ORDER BY {self.keys("h")} LIMIT 1) head
    CROSS JOIN LATERAL (
      SELECT {self.keys("w")} FROM {self.table} w
      WHERE {self.same("w", "head")} AND w.state || '' = 'ready' AND w.due_at <= now()
      FOR NO KEY UPDATE SKIP LOCKED) w"""

    def next_due(self) -> Statement:
        """Tell in how many seconds the first row is due: 0 or less if one is, NULL if none waits."""
        return self.named(
            "next_due",
            f"""WITH RECURSIVE {self.levels(1)}
SELECT extract(epoch FROM min(first.due_at) - now())::float8 FROM levels CROSS JOIN LATERAL (
  SELECT w.due_at FROM {self.table} w WHERE {self.ready("w", 1)} AND w.priority = levels.priority
  ORDER BY w.due_at LIMIT 1) first""",
        )
