"""Verifying: the chain is walked in order and its first break is named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from ..db import Database, Record, sql
from ..db.partitions import listed, month_of
from ..errors import SealRefused
from .chain import HASHED_COLUMNS, START, Seal, continued, hash_of_row

BATCH_ROWS = 1000

WALK = sql(
    "audit_walk_chain",
    f"""SELECT s.seq, s.audit_id, s.recorded_at AS sealed_time, s.row_hash, s.hash, {HASHED_COLUMNS}
          FROM wharfd.audit_seals s
          LEFT JOIN wharfd.audit a ON a.recorded_at = s.recorded_at AND a.id = s.audit_id
         WHERE s.seq > $1 AND s.seq <= $2 ORDER BY s.seq LIMIT {BATCH_ROWS}""",
)
ENDS = sql("audit_chain_ends", "SELECT min(seq) AS first, max(seq) AS last FROM wharfd.audit_seals")
FIND = sql("audit_find_seal", "SELECT seq, hash FROM wharfd.audit_seals WHERE seq = $1")
UNSEALED = sql(
    "audit_find_unsealed",
    """SELECT a.id FROM wharfd.audit a
        WHERE NOT EXISTS (SELECT FROM wharfd.audit_seals s
                           WHERE s.audit_id = a.id AND s.recorded_at = a.recorded_at)
          AND NOT EXISTS (SELECT FROM wharfd.audit_pending p
                           WHERE p.audit_id = a.id AND p.recorded_at = a.recorded_at)
        ORDER BY a.recorded_at, a.id LIMIT 1""",
)


@dataclass(frozen=True)
class Break:
    """The first place where the chain does not hold. `seq` is 0 for a row that is not in the chain at all."""

    seq: int
    audit_id: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """What a walk over the chain found.

    `first` is where it began; above 1 the older seals are gone by retention and are vouched for by nothing
    here. `checked` rows were compared, `expired` ones are of months that retention dropped. `head` is the
    seal the walk ended on, to be written down elsewhere; None where there is none, or something is wrong.
    """

    first: int
    last: int
    checked: int
    expired: int
    broken: Break | None
    head: Seal | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong."""
        return self.broken is None


async def verify(
    database: Database, first: int | None, last: int | None, *, known: Seal | None = None
) -> Verification:
    """Walk the seals `first` to `last` (all by default); compare each with its row and the seal before it.

    Rows that are in no seal are looked for when the whole chain is walked. Raises `SealRefused` when
    `known` is older than what is kept.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as tx:
        ends = await tx.fetchrow(ENDS)
        assert ends is not None
        begin = max(first or 1, ends["first"] or 1)
        end = min(last or ends["last"] or 0, ends["last"] or 0)
        if known is not None:
            if known.seq < (ends["first"] or 1):
                raise SealRefused(f"seal {known.seq} is older than the chain that is kept; give a newer one")
            row = await tx.fetchrow(FIND, known.seq)
            if row is None or row["hash"] != known.hash:
                reason = (
                    "the seal that was written down is not in the chain: the chain was cut or written anew"
                )
                return Verification(begin, end, 0, 0, Break(known.seq, "", reason))
        months = {month_of(partition.first) for partition in await listed(tx, "wharfd.audit")}
        row = await tx.fetchrow(FIND, begin - 1)
        before = Seal(row["seq"], row["hash"]) if row is not None else Seal(begin - 1, START)
        # Where the seal before is gone by retention, the first one can only be taken as it is.
        anchored = row is not None or begin == 1
        checked = expired = 0
        while before.seq < end and (rows := await tx.fetch(WALK, before.seq, end)):
            for row in rows:
                reason, gone = _compare(row, before, months, anchored=anchored)
                if reason:
                    found = Break(before.seq + 1, row["audit_id"], reason)
                    return Verification(begin, end, checked, expired, found)
                before, anchored = Seal(row["seq"], row["hash"]), True
                checked, expired = checked + (not gone), expired + gone
        broken: Break | None = None
        if before.seq < end:
            broken = Break(before.seq + 1, "", f"seals {before.seq + 1} to {end} are missing")
        elif first is None and last is None and (stray := await tx.fetchval(UNSEALED)) is not None:
            broken = Break(
                0, stray, "the row is not in the chain and does not wait for it: its seal was removed"
            )
        head = before if broken is None and checked + expired else None
        return Verification(begin, end, checked, expired, broken, head)


def _compare(row: Record, before: Seal, months: set[date], *, anchored: bool) -> tuple[str, bool]:
    """Return what is wrong with a seal ("" for nothing), and whether its row is gone by retention."""
    if row["seq"] != before.seq + 1:
        return f"seals {before.seq + 1} to {row['seq'] - 1} are missing", False
    if anchored and row["hash"] != continued(before, row["row_hash"]).hash:
        return "the seal does not continue the one before it", False
    if row["id"] is None:
        if month_of(row["sealed_time"]) not in months:
            return "", True
        return "the row was deleted", False
    if hash_of_row(row) != row["row_hash"]:
        return "the row was changed after it was sealed", False
    return "", False
