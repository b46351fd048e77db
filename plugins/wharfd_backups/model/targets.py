"""Choosing what to restore from, and to where: always to a target."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from .catalogue import Entry
from .wal import lsn_of, lsn_text


class Target(msgspec.Struct, frozen=True):
    """Where a restore goes to: a time, a position, the end of the log, or the first gap in it."""

    kind: Literal["time", "lsn", "latest", "gap"]
    time: datetime | None = None
    lsn: int | None = None

    def __str__(self) -> str:
        if self.kind == "time" and self.time is not None:
            return f"the time {self.time.isoformat()}"
        if self.kind == "gap":
            return "the last position before a gap"
        return "the last archived position" if self.lsn is None else f"the position {lsn_text(self.lsn)}"


LATEST = Target("latest")
BEFORE_GAP = Target("gap")


class NoBackup(ValueError):
    """No backup leads to the target."""


def to_time(time: datetime) -> Target:
    """Restore what was committed at or before a time."""
    if time.tzinfo is None:
        raise ValueError("a time to restore to needs its zone, such as 2026-11-20T23:44:07Z")
    return Target("time", time=time)


def to_lsn(text: str) -> Target:
    """Restore up to and with the record at a position."""
    return Target("lsn", lsn=lsn_of(text))


def choose(entries: Sequence[Entry], target: Target, *, backup_id: str | None = None) -> Entry:
    """Return the newest backup that was finished before the target; raises `NoBackup`.

    A logical dump has no way to go forward from its own moment: it serves `latest` alone.
    """
    if backup_id is not None:
        entries = [entry for entry in entries if entry.id == backup_id]
        if not entries:
            raise NoBackup(f"there is no backup {backup_id}")
    if not entries:
        raise NoBackup("there is no backup")
    fitting = [entry for entry in entries if _leads(entry, target)]
    if not fitting and all(entry.method == "logical" for entry in entries):
        raise NoBackup(
            f"a dump holds the moment it was made and leads to no other; for {target} there is none: restore "
            + _nearest(entries, target)
        )
    if not fitting:
        first = min(entries, key=lambda entry: entry.finished_at)
        raise NoBackup(
            f"no backup was finished before {target}; the first one, {first.id}, was finished at "
            f"{first.finished_at.isoformat()}" + (f", {first.end_lsn}" if first.end_lsn else "")
        )
    return max(fitting, key=lambda entry: entry.finished_at)


def _nearest(entries: Sequence[Entry], target: Target) -> str:
    """Name the newest dump from before a time, else the oldest there is."""
    until = target.time
    before = [entry for entry in entries if until is None or entry.finished_at <= until]
    near = max(before, key=lambda e: e.finished_at) if before else min(entries, key=lambda e: e.finished_at)
    return f"--backup {near.id} without a target, of {near.finished_at.isoformat()}"


def _leads(entry: Entry, target: Target) -> bool:
    if target.kind in ("latest", "gap"):
        return True
    if entry.method == "logical" or entry.end_lsn is None:
        return False
    if target.time is not None:
        return entry.finished_at <= target.time
    return target.lsn is not None and lsn_of(entry.end_lsn) <= target.lsn
