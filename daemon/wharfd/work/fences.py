"""The SQL that touches claimed rows: outcomes, leases, recovery; always through the fence."""

from __future__ import annotations

from ..db import Statement
from .fragments import ASYNC, DEATHS_ALLOWED, RECOVER_LIMIT, Text, among, history


class FenceText(Text):
    """Writes the statements that finish, extend and recover."""

    def given(self, *more: str) -> str:
        """The statement's arrays as a table f: the key, the claim, and what else is given per row."""
        names = ", ".join([*self.key, "claim", *(part.split("::")[0] for part in more)])
        types = [part.split("::")[1] for part in more]
        arrays = "".join(f", ${self.next + 1 + i}::{t}[]" for i, t in enumerate(types))
        return f"unnest({self.arrays}, ${self.next}::bigint[]{arrays}) AS f ({names})"

    def fence(self) -> str:
        """Say that a row is one of the given ones and still ours.

        A row is only ever claimed once by the jobs in hand, so for a key of one column it is enough that
        both key and claim are among those given. A claim is NULL unless the row is running; naming the
        state here would make the planner read the index of all running rows. IS TRUE keeps it from making
        a join of the subquery, which it would work off row by row.
        """
        terms = [self.given_key("w"), f"w.claim = ANY (${self.next}::bigint[])"]
        if len(self.key) > 1:
            named = ", ".join(f"f.{column}" for column in (*self.key, "claim"))
            terms.append(f"(({self.keys('w')}, w.claim) IN (SELECT {named} FROM {self.given()})) IS TRUE")
        return " AND ".join(terms)

    def given_key(self, alias: str) -> str:
        """Say that each column of a row's key is among those given, so that the index of the key is used.

        In a key of several columns one of them may be the same for all rows in hand. The planner counts
        each copy, believes that half of the table is wanted, and reads all of it; hence the subqueries,
        into which it does not look.
        """
        arrays = [f"${i}::{kind}[]" for i, kind in enumerate(self.columns.key.values(), 1)]
        if len(self.key) > 1:
            arrays = [f"ARRAY(SELECT unnest({array}))" for array in arrays]
        return " AND ".join(
            f"{alias}.{column} = ANY ({array})" for column, array in zip(self.key, arrays, strict=True)
        )

    def done(self) -> Statement:
        """Finish rows well: mark them, or delete them where nobody wants to keep them."""
        text = f"DELETE FROM {self.table} w"
        if self.queue.keep_done:
            text = f"""UPDATE {self.table} w
SET state = 'done', claim = NULL, lease_until = NULL, last_error = NULL, finished_at = now()"""
        return self.named("done", f"{text}\nWHERE {self.fence()}\nRETURNING {self.keys('w')}")

    def settle(self) -> Statement:
        """Write all other outcomes. A join, but one that reads the table once even with the worst plan."""
        given = self.given(
            "state::text", "attempts::int", "delay::float8", "until::timestamptz", "error::text", "note::bool"
        )
        return self.named(
            "settle",
            f"""UPDATE {self.table} w
SET state = f.state, attempts = f.attempts, claim = NULL, lease_until = NULL,
  due_at = coalesce(f.until, now() + make_interval(secs => f.delay), w.due_at),
  last_error = coalesce(f.error, w.last_error),
  history = CASE WHEN f.note THEN {history("w", "f.state", "f.error")} ELSE w.history END,
  finished_at = CASE WHEN f.state IN ('buried', 'cancelled') THEN now() END
FROM {given}
WHERE {self.same("w", "f")} AND w.claim = f.claim AND {self.given_key("w")}
RETURNING {self.keys("w")}""",
        )

    def extend(self) -> Statement:
        """Rows that somebody has locked are left out: their outcome is being written."""
        lease = self.next + 1
        return self.named(
            "extend",
            f"""WITH held AS MATERIALIZED (
  SELECT {self.keys("w")} FROM {self.table} w WHERE {self.fence()} AND (SELECT {ASYNC})
  FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE {self.table} w SET lease_until = now() + make_interval(secs => ${lease})
WHERE {among("w", "held", self.key)}
RETURNING {self.keys("w")}""",
        )

    def ours(self) -> Statement:
        """Look, without locking, which rows are still ours."""
        return self.named("ours", f"SELECT {self.keys('w')} FROM {self.table} w WHERE {self.fence()}")

    def recover(self) -> Statement:
        """$1 attempts allowed, $2 seconds to spread the next try over, then the lane."""
        # A death says little of one row: it may only have been claimed beside the one that killed.
        final = f"w.attempts >= greatest($1, {DEATHS_ALLOWED})"
        state = f"CASE WHEN {final} THEN 'buried' ELSE 'ready' END"
        error = "'the worker died: its lease ran out'"
        return self.named(
            "recover",
            f"""WITH expired AS MATERIALIZED (
  SELECT {self.keys("w")} FROM {self.table} w
  WHERE w.state = 'running'{self.lane("w", 3)} AND w.lease_until < now()
  LIMIT {RECOVER_LIMIT} FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {self.table} w
SET state = {state}, claim = NULL, lease_until = NULL, due_at = now() + make_interval(secs => random() * $2),
  last_error = {error}, history = {history("w", state, error)},
  finished_at = CASE WHEN {final} THEN now() END
WHERE {among("w", "expired", self.key)}
RETURNING w.state AS wharfd_state, {self.keys("w")}""",
        )
