"""Storing admissions: one statement per group, in which the unique identity decides what is new.

The statement writes identity and event together or neither. What comes back are the duplicates alone, so a
group of new events costs one round trip and one row of answer at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wharfd import Queries, new_id, sql

from .admission import Admission, Entry

# Sorted by identity, so that two groups that share duplicates wait for each other instead of deadlocking.
# A duplicate locks its first copy's identity, sees it whatever its age, and counts itself there. Whether a
# row is new is told by the time of the transaction and not by its id alone: a group whose commit was cut off
# comes once more with the same ids.
STORE = sql(
    "store_events",
    """WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::smallint[], $12::bytea[])
  AS g (identity, content, id, source, owner, trace_id, name,
    resource_id, merchant_ref, receipt, priority, body)
), seen AS (
  INSERT INTO netbanx.dedup AS d (identity, event_id, content)
  SELECT identity, id, content FROM given
  ON CONFLICT (identity) DO UPDATE SET copies = d.copies + 1, last_seen_at = now()
  RETURNING d.identity, d.event_id, d.received_at, d.content
), stored AS (
  INSERT INTO netbanx.events (identity, content, id, source, owner, trace_id, name,
    resource_id, merchant_ref, receipt, priority, body)
  SELECT g.identity, g.content, g.id, g.source, g.owner, g.trace_id, g.name,
    g.resource_id, g.merchant_ref, g.receipt::json, g.priority, g.body
  FROM given g WHERE EXISTS (SELECT FROM seen WHERE seen.event_id = g.id AND seen.received_at = now())
)
SELECT seen.identity, seen.event_id, seen.received_at, seen.content
FROM seen WHERE seen.received_at <> now()""",
)

# The provider sends it again because it was not told that all is well, or to help us: so what was given up is
# tried once more (its attempts still count), and what waits for its next try is tried now.
REDRIVE = sql(
    "redrive_events",
    """UPDATE netbanx.events e
SET state = 'ready', due_at = now(), finished_at = NULL,
  history = coalesce(e.history, '[]')
    || jsonb_build_object('at', now(), 'attempt', e.attempts, 'state', 'ready', 'error', 'it was sent again')
FROM unnest($1::text[], $2::timestamptz[]) AS f (id, received_at)
WHERE e.id = f.id AND e.received_at = f.received_at
  AND (e.state = 'buried' OR (e.state = 'ready' AND e.attempts > 0 AND e.due_at > now()))
RETURNING e.id""",
)

KEEP_CONFLICTS = sql(
    "keep_conflicts",
    """INSERT INTO netbanx.conflicts
  (id, source, owner, identity, content, event_id, event_received_at, receipt, body)
SELECT id, source, owner, identity, content, event_id, coalesce(event_received_at, now()), receipt::json, body
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::text[], $7::timestamptz[],
  $8::text[], $9::bytea[])
  AS g (id, source, owner, identity, content, event_id, event_received_at, receipt, body)
ORDER BY identity, content
ON CONFLICT (identity, content) DO NOTHING RETURNING source""",
)


@dataclass(slots=True)
class Fate:
    """What became of one event: the id it is kept under, whether that is an earlier copy's."""

    event_id: str
    duplicate: bool


@dataclass(slots=True)
class Stored:
    """What became of a group: one list of fates per admission, in order, and what else happened."""

    fates: list[list[Fate]]
    new: int
    duplicates: list[str]
    conflicts: list[str]
    redriven: int


class _First:
    """The first copy of an identity: within this group, or from earlier."""

    __slots__ = ("content", "event_id", "received_at")

    def __init__(self, event_id: str, content: bytes, received_at: datetime | None = None) -> None:
        self.event_id = event_id
        self.content = content
        self.received_at = received_at


async def store_group(tx: Queries, admissions: Sequence[Admission], *, quiet: bool = False) -> Stored:
    """Store a group and say what became of every event in it.

    One statement stores it. Only duplicates need more, and what is done about them may be cut off: whoever
    sent one was not answered then and sends it again.

    With `quiet` another content under a known identity is no conflict: what a poll finds is worded
    differently from what was delivered.
    """
    rows = [(admission, entry) for admission in admissions for entry in admission.entries]
    firsts: dict[bytes, _First] = {}
    fresh: list[tuple[Admission, Entry]] = []
    for row in rows:
        entry = row[1]
        if entry.identity not in firsts:
            firsts[entry.identity] = _First(entry.id, entry.content)
            fresh.append(row)
    fresh.sort(key=_identity)
    known = 0
    for record in await tx.fetch(STORE, *_columns(fresh)):
        known += 1
        firsts[record[0]] = _First(record[1], record[3], record[2])
    stored = Stored([], len(fresh) - known, [], [], 0)
    odd: list[tuple[Admission, Entry, _First]] = []
    for admission in admissions:
        fates = []
        for entry in admission.entries:
            first = firsts[entry.identity]
            duplicate = first.event_id != entry.id
            if duplicate:
                stored.duplicates.append(admission.source)
                if first.content != entry.content and not quiet:
                    odd.append((admission, entry, first))
            fates.append(Fate(first.event_id, duplicate))
        stored.fates.append(fates)
    earlier = [first for first in firsts.values() if first.received_at is not None]
    if earlier:
        again = await tx.fetch(REDRIVE, [f.event_id for f in earlier], [f.received_at for f in earlier])
        stored.redriven = len(again)
    if odd:
        stored.conflicts = [record[0] for record in await tx.fetch(KEEP_CONFLICTS, *_conflicts(odd))]
    return stored


def _identity(row: tuple[Admission, Entry]) -> bytes:
    return row[1].identity


def _columns(rows: Sequence[tuple[Admission, Entry]]) -> list[list[object]]:
    table = [
        (
            entry.identity,
            entry.content,
            entry.id,
            admission.source,
            admission.owner,
            admission.trace_id,
            entry.name,
            entry.resource_id,
            entry.merchant_ref,
            entry.receipt,
            entry.priority,
            admission.body,
        )
        for admission, entry in rows
    ]
    return [list(column) for column in zip(*table, strict=True)]


def _conflicts(odd: Sequence[tuple[Admission, Entry, _First]]) -> list[list[object]]:
    table = [
        (
            new_id("cfl"),
            admission.source,
            admission.owner,
            entry.identity,
            entry.content,
            first.event_id,
            first.received_at,
            entry.receipt,
            admission.body,
        )
        for admission, entry, first in odd
    ]
    return [list(column) for column in zip(*table, strict=True)]
