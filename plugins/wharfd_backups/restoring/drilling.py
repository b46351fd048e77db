"""The drill: a backup is restored for real, checked, timed and removed. Only this proves a backup."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import trio

from wharfd import WharfdError
from wharfd.contracts.daemon import Rehearsed

from ..engine.pacing import Pace
from ..engine.taking import at
from ..model.catalogue import Entry, Marker
from ..model.targets import Target
from ..model.wal import lsn_of
from . import logfiles
from .checks import check_all, page_checksums
from .counts import Changed, missing, nothing_changed
from .outcome import Check, Failed, Skipped, one
from .restore import Restored, Source, restore
from .scratch import Scratch, remove_folder
from .unpacking import Passed, verify

Hear = Callable[[str], None]
Rehearse = Callable[[str, Path], Awaitable[Rehearsed]]
_NO_RTO = ("check", "stood_back")
_NEWEST_MARK = "SELECT max(at) FROM backups.marks"


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill restores, and what is known of the moment it goes to.

    `marker` was counted there; `newest_mark` is the last mark that the real database left before it.
    """

    entry: Entry
    target: Target
    marker: Marker | None = None
    newest_mark: datetime | None = None


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


async def drill(
    source: Source,
    folder: Path,
    root: Path,
    aim: Aim,
    *,
    rehearse: Rehearse | None = None,
    changed: Changed = nothing_changed,
    pace: Pace | None = None,
    hear: Hear = lambda step: None,
) -> Report:
    """Restore, check and remove; the report says how it went, and nothing but a cancellation is raised.

    `changed` tells which rows may have gone since they were counted. `pace` is how fast it fetches; what it
    waited for others is a phase of its own and none of the RTO.
    """
    pace = pace or Pace(0)
    checks, error = list[Check](), ""
    restored: Restored | None = None
    rpo: float | None = None
    try:
        restored = await restore(
            source, aim.target, folder, backup_id=aim.entry.id, hear=hear, nice=15, passed=pace.passed
        )
        restored.phases.stood_back("fetch", pace.waited)
        checks += _restored(source, restored)
        hear("checking")
        with restored.phases.timed("check"):
            rpo = await _rpo(restored, aim)
            checks += await _checks(source, restored, aim, changed)
        checks.append(await one("daemon_boots", lambda: _boots(restored, folder / "state", rehearse)))
        with restored.phases.timed("check"):
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
    phases = {} if restored is None else restored.phases.seconds
    return Report(
        backup=aim.entry.id,
        target=str(aim.target),
        place=source.place.name,
        passed=not error and all(check.outcome != "failed" for check in checks),
        checks=checks,
        phases=phases,
        rto_seconds=round(sum(seconds for name, seconds in phases.items() if name not in _NO_RTO), 3),
        rpo_seconds=rpo,
        bytes=aim.entry.bytes,
        log_files=0 if restored is None else restored.log_files,
        error=error,
        reached_lsn=None if restored is None else restored.reached_lsn,
        reached_at=None if reached is None else reached.isoformat(),
    )


def _restored(source: Source, restored: Restored) -> list[Check]:
    """Say what a restore that came this far has proven already: anything else would have ended it."""
    entry, seconds = restored.entry, restored.phases.seconds
    said = f"{entry.bytes} bytes from {source.place.name}, size and SHA-256 as in the catalogue"
    found = [Check("fetched", "passed", f"{said}, {'decrypted' if entry.recipients else 'not encrypted'}")]
    if entry.method == "physical":
        found.append(Check("manifest", "passed", f"{entry.files} files of its size and checksum, no other"))
        found.append(Check("log_whole", "passed", f"{restored.log_files} files in a row, each as archived"))
    return [*found, Check("restored", "passed", f"to {restored.target} in {sum(seconds.values()):.1f} s")]


async def _checks(source: Source, restored: Restored, aim: Aim, changed: Changed) -> list[Check]:
    scratch, database = restored.scratch, aim.entry.database
    found = [await one("target_reached", lambda: _reached(restored, aim))]
    if aim.entry.method == "physical":
        found.append(await one("log_reads", lambda: logfiles.read_through(source.programs, restored)))
        found.append(await one("newest_mark", lambda: _newest(scratch, database, aim)))
    return found + await check_all(scratch, source.programs, aim.entry, at_marker=aim.marker, changed=changed)


async def _reached(restored: Restored, aim: Aim) -> str:
    wanted, reached = aim.target.lsn, restored.reached_lsn
    if wanted is not None and (reached is None or lsn_of(reached) < wanted):
        raise Failed(f"recovery ended at {reached}, before {aim.target}")
    if (await restored.scratch.ask("SELECT pg_is_in_recovery()"))[0][0] != "f":
        raise Failed("the restored server was not promoted")
    when = "an unknown time" if restored.reached_at is None else restored.reached_at.isoformat()
    return f"promoted at {reached or 'the end of the dump'}, last commit at {when}"


async def _newest(scratch: Scratch, database: str, aim: Aim) -> str:
    """The last mark before the target must be there: not a minute of commits is missing."""
    if aim.newest_mark is None:
        raise Skipped("no mark of the real database is known before the target")
    newest = await _mark(scratch, database)
    if newest is None or newest < aim.newest_mark:
        raise Failed(f"the newest mark is of {newest}, and {aim.newest_mark} was before the target")
    return f"the mark of {newest.isoformat()} is there"


async def _mark(scratch: Scratch, database: str) -> datetime | None:
    if await missing(scratch, database, "backups.marks"):
        return None
    value = (await scratch.ask(_NEWEST_MARK, database))[0][0]
    return at(value) if value else None


async def _rpo(restored: Restored, aim: Aim) -> float | None:
    """Return how long before the target the last restored commit lies; None where it cannot be told."""
    wanted = aim.target.time or (aim.marker.at if aim.marker is not None else None)
    marked = await _mark(restored.scratch, aim.entry.database)
    reached = max(filter(None, (restored.reached_at, marked)), default=None)
    if wanted is None or reached is None:
        return None
    return max(0.0, (wanted - reached) / timedelta(seconds=1))


async def _boots(restored: Restored | None, folder: Path, rehearse: Rehearse | None) -> str:
    """Start the daemon itself on the restored data, and open what is sealed in it."""
    assert restored is not None
    if rehearse is None:
        raise Skipped("there is no daemon here to start on it")
    with restored.phases.timed("boot"):
        done = await rehearse(restored.scratch.dsn(restored.entry.database), folder)
    if done.ready != 200:
        raise Failed(f"the daemon came up on it, and said {done.ready} to /health/ready")
    values = ", ".join(f"{count} of {column}" for column, count in done.opened.items()) or "none there"
    return f"ready in {done.seconds} s; sealed values opened: {values}; {done.audit_checked} audit rows hold"


async def verify_place(source: Source, entry: Entry, passed: Passed = lambda size: None) -> str:
    """Read a backup back from a place and compare every byte; raises `Damaged`."""
    await trio.to_thread.run_sync(verify, source.place, entry, source.identity, passed)
    return f"{entry.id} in {source.place.name} is whole: {entry.files} files, {entry.bytes} bytes"


def _remove(folder: Path, root: Path) -> None:
    if folder.exists():
        remove_folder(folder, root)
