"""The SQL of the engine, built once per queue from its declaration. Nothing here runs a statement.

Every statement is short, uses the database's clock, and touches a claimed row only through its fence: the
row's key *and* the claim it was taken under. Claims, lease extensions and wake-ups commit asynchronously
(`synchronous_commit = off` for that one statement): losing one in a crash of PostgreSQL costs a repeated
attempt at worst and never a result, and saves a disk flush. Outcomes are always flushed.

Parameters of the claim: $1 rows wanted, $2 the new claim, $3 lease seconds, $4 the queue's name; then, in
this order and only where they apply, the lane, and for fair queues rows per key, rows running per key, and
the key to go on after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..db import Statement, sql
from ..declare import WorkQueue

CLAIM_LIMIT = 1000  # rows per claim
KEYS_PER_CLAIM = 1000  # how many keys one fair claim looks at, so that a claim stays short whatever waits
RECOVER_LIMIT = 1000
HISTORY_LIMIT = 20

UNFINISHED = ("ready", "running", "held", "buried")  # what blocks an ordered key; buried only by choice
PARKED = ("buried", "held")

_ASYNC = "set_config('synchronous_commit', 'off', true) = 'off'"
_FREE = "NOT EXISTS (SELECT FROM wharfd.paused_queues p WHERE p.queue = $4)"


@dataclass(frozen=True)
class Columns:
    """What a queue's statements need to know of its table: the key's types and the handler's columns."""

    key: Mapping[str, str]
    row: Sequence[str]


@dataclass(frozen=True)
class Statements:
    """All statements of one queue."""

    claim: Statement
    claim_on: Statement | None
    next_due: Statement | None
    done: Statement
    settle: Statement
    extend: Statement
    ours: Statement
    recover: Statement


def build(name: str, queue: WorkQueue, columns: Columns) -> Statements:
    """Write the statements of a queue; `name` is its full name, `plugin.queue`."""
    text = _Text(name, queue, columns)
    fair = queue.fair_by is not None
    return Statements(
        claim=text.fair_claim(on=False) if fair else text.claim(),
        claim_on=text.fair_claim(on=True) if fair else None,
        next_due=None if fair else text.next_due(),
        done=text.done(),
        settle=text.settle(),
        extend=text.extend(),
        ours=text.ours(),
        recover=text.recover(),
    )


class _Text:
    def __init__(self, name: str, queue: WorkQueue, columns: Columns) -> None:
        self.name = name
        self.queue = queue
        self.table = queue.table
        self.columns = columns
        self.key = list(columns.key)
        self.arrays = ", ".join(f"${i}::{t}[]" for i, t in enumerate(columns.key.values(), 1))
        self.next = len(self.key) + 1  # the first parameter after the key's arrays

    def named(self, what: str, text: str) -> Statement:
        return sql(f"work.{self.name}.{what}", text)

    def keys(self, alias: str) -> str:
        return ", ".join(f"{alias}.{column}" for column in self.key)

    def same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{column} = {right}.{column}" for column in self.key)

    def lane(self, alias: str, parameter: int) -> str:
        return f" AND {alias}.{self.queue.lane[0]} = ${parameter}" if self.queue.lane else ""

    def ready(self, alias: str, lane: int) -> str:
        return f"{alias}.state = 'ready'{self.lane(alias, lane)}"

    # -- claiming ------------------------------------------------------------------------------------

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
        return self.named(
            "claim",
            f"""WITH RECURSIVE {self.levels(5)}, picked AS MATERIALIZED (
  SELECT due.* FROM levels CROSS JOIN LATERAL (
    SELECT {self.keys("w")} FROM {self.table} w
    WHERE {self.ready("w", 5)} AND w.priority = levels.priority AND w.due_at <= now()
    ORDER BY w.due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) due
  WHERE {_FREE} AND (SELECT {_ASYNC})
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
  WHERE keys.value IS NOT NULL AND {_FREE} AND (SELECT {_ASYNC})
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
        return self.named(
            "next_due",
            f"""WITH RECURSIVE {self.levels(1)}
SELECT extract(epoch FROM min(first.due_at) - now())::float8 FROM levels CROSS JOIN LATERAL (
  SELECT w.due_at FROM {self.table} w WHERE {self.ready("w", 1)} AND w.priority = levels.priority
  ORDER BY w.due_at LIMIT 1) first""",
        )

    # -- outcomes ------------------------------------------------------------------------------------

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
        state here would make the planner read the index of all running rows.
        """
        terms = [
            f"w.{column} = ANY (${i}::{kind}[])"
            for i, (column, kind) in enumerate(self.columns.key.items(), 1)
        ]
        terms.append(f"w.claim = ANY (${self.next}::bigint[])")
        if len(self.key) > 1:
            named = ", ".join(f"f.{column}" for column in (*self.key, "claim"))
            terms.append(f"({self.keys('w')}, w.claim) IN (SELECT {named} FROM {self.given()})")
        return " AND ".join(terms)

    def done(self) -> Statement:
        text = f"DELETE FROM {self.table} w"
        if self.queue.keep_done:
            text = f"""UPDATE {self.table} w
SET state = 'done', claim = NULL, lease_until = NULL, last_error = NULL, finished_at = now()"""
        return self.named("done", f"{text}\nWHERE {self.fence()}\nRETURNING {self.keys('w')}")

    def settle(self) -> Statement:
        given = self.given(
            "state::text", "attempts::int", "delay::float8", "until::timestamptz", "error::text", "note::bool"
        )
        some = next(iter(self.columns.key.items()))
        return self.named(
            "settle",
            f"""UPDATE {self.table} w
SET state = f.state, attempts = f.attempts, claim = NULL, lease_until = NULL,
  due_at = coalesce(f.until, now() + make_interval(secs => f.delay), w.due_at),
  last_error = coalesce(f.error, w.last_error),
  history = CASE WHEN f.note THEN {history("w", "f.state", "f.error")} ELSE w.history END,
  finished_at = CASE WHEN f.state IN ('buried', 'cancelled') THEN now() END
FROM {given}
WHERE {self.same("w", "f")} AND w.claim = f.claim AND w.{some[0]} = ANY ($1::{some[1]}[])
RETURNING {self.keys("w")}""",
        )

    # -- leases --------------------------------------------------------------------------------------

    def extend(self) -> Statement:
        """Rows that somebody has locked are left out: their outcome is being written."""
        lease = self.next + 1
        return self.named(
            "extend",
            f"""WITH held AS MATERIALIZED (
  SELECT {self.keys("w")} FROM {self.table} w WHERE {self.fence()} AND (SELECT {_ASYNC})
  FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE {self.table} w SET lease_until = now() + make_interval(secs => ${lease})
WHERE {among("w", "held", self.key)}
RETURNING {self.keys("w")}""",
        )

    def ours(self) -> Statement:
        return self.named("ours", f"SELECT {self.keys('w')} FROM {self.table} w WHERE {self.fence()}")

    def recover(self) -> Statement:
        """$1 attempts allowed, $2 seconds to spread the next try over, then the lane."""
        final = "w.attempts >= $1"
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


def among(alias: str, source: str, key: Iterable[str]) -> str:
    """Return the SQL that says that a row is one of those in a CTE, without a join.

    A plan is made once and kept; made while a table was nearly empty, a join would read the whole table once
    per row when it has grown. This reads it once at the very worst.
    """
    columns = list(key)
    terms = [f"{alias}.{column} = ANY (ARRAY(SELECT {column} FROM {source}))" for column in columns]
    if len(columns) > 1:
        ours = ", ".join(f"{alias}.{column}" for column in columns)
        terms.append(f"({ours}) IN (SELECT {', '.join(columns)} FROM {source})")
    return " AND ".join(terms)


def blocking(queue: WorkQueue) -> str:
    """Return the states, as SQL, whose rows hold back the later rows of an ordered key."""
    states = UNFINISHED[:-1] if queue.skip_buried else UNFINISHED
    return ", ".join(f"'{state}'" for state in states)


def history(alias: str, state: str, error: str) -> str:
    """Return the SQL that appends an entry to a row's history, of which the last few are kept."""
    entry = (
        f"jsonb_build_object('at', now(), 'attempt', {alias}.attempts, 'state', {state}, 'error', {error})"
    )
    return (
        f"jsonb_path_query_array(coalesce({alias}.history, '[]') || {entry}, "
        f"'$[last - {HISTORY_LIMIT - 1} to last]')"
    )
