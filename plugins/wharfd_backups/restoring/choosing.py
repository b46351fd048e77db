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

    A backup from before a restore was taken into use is tried within its own timeline: what the server
    wrote between the restore and the start of its receiver is in no archive, and nothing leads across.
    """
    if not entries:
        raise WharfdError("there is no backup to try")
    entry = chance.choice(entries)
    if entry.method == "logical":
        return Aim(entry=entry, target=LATEST, marker=entry.marker)
    markers = [
        later.marker
        for later in entries
        if later.marker and later.system == entry.system and later.method == "physical"
        and entry.end_lsn and lsn_of(later.marker.lsn) >= lsn_of(entry.end_lsn)
        and segment_at(lsn_of(later.marker.lsn), later.timeline or 1, entry.segment_bytes).name in archived
        and later.timeline == entry.timeline
    ]  # fmt: skip
    left_behind = max((int(name[:8], 16) for name in archived), default=0) > (entry.timeline or 1)
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
