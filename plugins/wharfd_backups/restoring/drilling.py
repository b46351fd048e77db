"""The drill: a backup is restored for real, checked, timed and removed. Only this proves a backup."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from time import monotonic

import msgspec
import trio

from wharfd import WharfdError

from ..model.catalogue import Entry, Marker
from ..model.targets import LATEST, Target, to_lsn
from ..model.wal import lsn_of, segment_at
from .checks import Check, Failed, check_all, one, page_checksums
from .restore import Restored, Source, restore
from .scratch import remove_folder
from .unpacking import verify

Hear = Callable[[str], None]


class Report(msgspec.Struct, kw_only=True):
    """What a drill found."""

    backup: str
    target: str
    place: str
    passed: bool
    checks: list[Check]
    phases: dict[str, float]
    rto_seconds: float
    rpo_seconds: float | None
    bytes: int
    log_files: int
    error: str = ""
    reached_lsn: str | None = None
    reached_at: str | None = None


def pick(
    entries: list[Entry], archived: Collection[str], chance: random.Random
) -> tuple[Entry, Target, Marker | None]:
    """Choose a backup and where to go from it: not always the newest, sometimes the very end of the log.

    `archived` are the log files there are; a point in a file that is not there yet is no target.
    """
    if not entries:
        raise WharfdError("there is no backup to try")
    entry = chance.choice(entries)
    if entry.method == "logical":
        return entry, LATEST, entry.marker
    markers = [
        later.marker
        for later in entries
        if later.marker and later.system == entry.system and later.method == "physical"
        and entry.end_lsn and lsn_of(later.marker.lsn) >= lsn_of(entry.end_lsn)
        and segment_at(lsn_of(later.marker.lsn), later.timeline or 1, entry.segment_bytes).name in archived
    ]  # fmt: skip
    if not markers or (entry is entries[-1] and chance.random() < 0.25):
        return entry, LATEST, None
    marker = chance.choice(markers)
    return entry, to_lsn(marker.lsn), marker


async def drill(
    source: Source,
    folder: Path,
    root: Path,
    entry: Entry,
    target: Target,
    marker: Marker | None,
    *,
    hear: Hear = lambda step: None,
) -> Report:
    """Restore, check and remove; the report says how it went, and nothing but a cancellation is raised."""
    began, checks, error = monotonic(), list[Check](), ""
    restored: Restored | None = None
    rto = 0.0
    try:
        restored = await restore(source, target, folder, backup_id=entry.id, hear=hear)
        rto = round(monotonic() - began, 3)
        checks.append(Check("restored", "passed", f"to {target} in {rto} s"))
        hear("checking")
        with restored.phases.timed("check"):
            checks += await check_all(restored.scratch, source.programs, entry, at_marker=marker)
            await restored.scratch.stop()
            scratch = restored.scratch
            checks.append(await one("page_checksums", lambda: page_checksums(scratch, source.programs)))
    except (WharfdError, OSError, Failed) as failure:
        error = str(failure)
        checks.append(Check("restored" if restored is None else "checks", "failed", error))
    finally:
        with trio.CancelScope(shield=True):
            if restored is not None:
                await restored.scratch.stop()
            await trio.to_thread.run_sync(_remove, folder, root)
    hear("removed")
    reached = None if restored is None else restored.reached_at
    return Report(
        backup=entry.id,
        target=str(target),
        place=source.place.name,
        passed=not error and all(check.outcome != "failed" for check in checks),
        checks=checks,
        phases={} if restored is None else restored.phases.seconds,
        rto_seconds=rto,
        rpo_seconds=_rpo(restored, target, marker),
        bytes=entry.bytes,
        log_files=0 if restored is None else restored.log_files,
        error=error,
        reached_lsn=None if restored is None else restored.reached_lsn,
        reached_at=None if reached is None else reached.isoformat(),
    )


def _rpo(restored: Restored | None, target: Target, marker: Marker | None) -> float | None:
    """Return how much time before the target the last restored commit lies; None where it cannot be told."""
    if restored is None or restored.reached_at is None:
        return None
    wanted = target.time or (marker.at if marker is not None else None)
    if wanted is None:
        return None
    return max(0.0, (wanted - restored.reached_at) / timedelta(seconds=1))


def _remove(folder: Path, root: Path) -> None:
    if folder.exists():
        remove_folder(folder, root)


async def verify_place(source: Source, entry: Entry) -> str:
    """Read a backup back from a place and compare every byte; raises `Damaged`."""
    await trio.to_thread.run_sync(verify, source.place, entry, source.identity)
    return f"{entry.id} in {source.place.name} is whole: {entry.files} files, {entry.bytes} bytes"
