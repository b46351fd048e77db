"""The pure part of retention: the policies, what may go, when to stop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Literal

import msgspec

from wharfd import Partition, RetentionRule

from .config import Override

State = Literal["planned", "exporting", "exported", "verified", "uploaded", "detached", "dropped"]
ORDER: tuple[State, ...] = (
    "planned", "exporting", "exported", "verified", "uploaded", "detached", "dropped",
)  # fmt: skip
_FEW_ROWS = 1000  # so few may always go; a share of a small table says nothing
_BACKWARDS = timedelta(minutes=5)
_JUMP = timedelta(days=1)
_RUNS_KNOWN = 3


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it holds here: declared by a plugin, changed by the operator."""

    name: str
    table: str
    column: str
    keep: timedelta
    key: tuple[str, ...]
    where: str
    partitioned: bool
    archive: bool
    cold: timedelta | None = None

    @property
    def fingerprint(self) -> str:
        """Return what changes when the rule does."""
        facts = (self.table, self.column, self.keep.total_seconds(), self.key, self.where, self.partitioned)
        return hashlib.sha256(repr((*facts, self.archive)).encode()).hexdigest()[:16]

    def cutoff(self, now: datetime) -> datetime:
        """Return the time before which rows may go."""
        return now - self.keep


def policies(
    declared: Sequence[tuple[str, RetentionRule]], overrides: Mapping[str, Override]
) -> tuple[list[Policy], list[str]]:
    """Return the policies that hold, and the names of overrides that fit no rule."""
    found = []
    for plugin, rule in declared:
        name = f"{plugin}.{rule.name}"
        override = overrides.get(name, Override())
        if override.enabled:
            found.append(
                Policy(
                    name=name,
                    table=rule.table,
                    column=rule.column,
                    keep=override.keep or rule.keep,
                    key=rule.key,
                    where=rule.where,
                    partitioned=rule.partitioned,
                    archive=rule.archive if override.archive is None else override.archive,
                    cold=override.cold or rule.cold,
                )
            )
    known = {f"{plugin}.{rule.name}" for plugin, rule in declared}
    return found, sorted(set(overrides) - known)


def months_to_go(partitions: Sequence[Partition], cutoff: datetime) -> list[Partition]:
    """Return the months of which every row is older than the cutoff."""
    return [partition for partition in partitions if partition.end <= cutoff]


class Shape(msgspec.Struct, frozen=True):
    """What a table has: its columns with their types, in order."""

    columns: dict[str, str]

    @property
    def owned(self) -> bool:
        """Whether its rows belong to somebody."""
        return "owner" in self.columns

    @property
    def works(self) -> bool:
        """Whether its rows are work."""
        return {"state", "lease_until", "due_at"} <= set(self.columns)


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: nothing it names is deleted. `table` is a table or *, `owner` and `key` narrow it."""

    id: str
    table: str
    owner: str | None = None
    key: str | None = None

    def covers(self, table: str) -> bool:
        """Tell whether it has to do with a table."""
        return self.table in ("*", table)

    @property
    def whole(self) -> bool:
        """Tell whether it covers every row of its tables."""
        return self.owner is None and self.key is None


class Gate(msgspec.Struct, frozen=True):
    """SQL that is true of rows that may go, and the values it takes from $1 on."""

    text: str
    values: tuple[Any, ...]


def gate(policy: Policy, shape: Shape, holds: Sequence[Hold], cutoff: datetime | None) -> Gate:
    """Return the condition of every delete: old enough, of the rule, not live work, not held.

    Without a cutoff the age is left out: for a month that as a whole is old enough.
    """
    parts, values = [f"({policy.where})"], list[Any]()
    if cutoff is not None:
        values.append(cutoff)
        parts.append(f't."{policy.column}" < ${len(values)}')
    if shape.works:
        parts.append("t.state NOT IN ('ready', 'running', 'held')")
    held = [hold for hold in holds if hold.covers(policy.table)]
    if any(hold.whole for hold in held):
        parts.append("false")
    for hold in held:
        if hold.whole:
            continue
        narrowed = []
        if hold.owner is not None:
            # A hold on somebody's rows of a table that does not say whose they are covers them all.
            values.append(hold.owner)
            narrowed.append(
                f"t.owner = ${len(values)}" if shape.owned else f"${len(values)}::text IS NOT NULL"
            )
        if hold.key is not None:
            values.append(hold.key)
            narrowed.append(f't."{policy.key[0]}"::text = ${len(values)}')
        parts.append(f"NOT coalesce({' AND '.join(narrowed)}, false)")
    return Gate(" AND ".join(parts), tuple(values))


def why_stop(
    rows: int, total: int, before: Sequence[int], *, max_share: float, max_factor: float
) -> str | None:
    """Return why a rule must not run on its own tonight, None when it may: the circuit breaker."""
    if rows <= _FEW_ROWS:
        return None
    if total and rows > max_share * total:
        return f"{rows} of about {total} rows would go, more than {max_share:.0%}"
    usual = [count for count in before if count > 0]
    if len(usual) >= _RUNS_KNOWN and rows > max_factor * median(usual):
        return f"{rows} rows would go, more than {max_factor:g} times the usual {median(usual):.0f}"
    return None


def why_no_clock(
    database: datetime, last_seen: datetime | None, expected: datetime | None, here: datetime
) -> str | None:
    """Return why the database's clock is not believed, None when it is.

    `last_seen` is the latest time it ever told us, `expected` what it should tell by a clock that cannot be
    set, `here` what this machine says.
    """
    if last_seen is not None and database < last_seen - _BACKWARDS:
        return f"the database's clock went back from {last_seen.isoformat()} to {database.isoformat()}"
    if expected is not None and abs(database - expected) > _JUMP:
        return f"the database's clock jumped from about {expected.isoformat()} to {database.isoformat()}"
    if abs(database - here) > _JUMP:
        return f"the database says {database.isoformat()} and this machine {here.isoformat()}"
    return None
