"""Which backup a drill restores, and to where: not always the newest, not always the end."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import datetime

from wharfd import WharfdError

from ..model.catalogue import Entry
from ..model.targets import BEFORE_GAP, LATEST, to_lsn, to_time
from ..model.wal import lsn_of, segment_at
from .drilling import Aim


def pick(
    entries: list[Entry],
    archived: Collection[str],
    chance: random.Random,
    *,
    archived_until: datetime | None = None,
) -> Aim:
    """Choose a backup, and a counted point, any moment or the end of the log to restore it to.

    `archived` are the log files there are: a point in a file that is not there yet is no target.
    `archived_until` is a moment up to which the log surely is; without it no moment is chosen.

    A backup of an earlier timeline is tried within that one. After a restore that was taken into use nothing
    leads across: what the server wrote until its receiver started is in no archive. After the failover of a
    given server all of it may be, and the log from the switch on is tried with the next backup only.
    """
    if not entries:
        raise WharfdError("there is no backup to try")
    entry = chance.choice(entries)
    if entry.method == "logical":
        return Aim(entry=entry, target=LATEST, marker=entry.marker)
    timeline = entry.timeline or 1
    markers = [
        later.marker
        for later in entries
        if later.marker and later.system == entry.system and later.method == "physical"
        and (later.timeline or 1) == timeline
        and entry.end_lsn and lsn_of(later.marker.lsn) >= lsn_of(entry.end_lsn)
        and segment_at(lsn_of(later.marker.lsn), timeline, entry.segment_bytes).name in archived
    ]  # fmt: skip
    left_behind = max((int(name[:8], 16) for name in archived), default=0) > timeline
    if left_behind:  # a moment needs a commit after it, and a marker is one
        archived_until = max((marker.at for marker in markers), default=None)
    ways = ["marker"] * 2 * bool(markers)
    if archived_until is not None and archived_until > entry.finished_at:
        ways += ["moment"] * 2
    if not ways or entry is entries[-1]:
        ways.append("end")
    way = chance.choice(ways)
    if way == "moment" and archived_until is not None:
        moment = entry.finished_at + (archived_until - entry.finished_at) * chance.random()
        return Aim(entry=entry, target=to_time(moment))
    if way == "marker":
        marker = chance.choice(markers)
        return Aim(entry=entry, target=to_lsn(marker.lsn), marker=marker)
    return Aim(entry=entry, target=BEFORE_GAP if left_behind else LATEST)
