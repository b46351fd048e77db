"""A restore: always from a verified backup, always to a target, into a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic

import trio

from wharfd import Place, Secret, WharfdError, quoted

from ..engine.programs import Programs
from ..engine.storehouse import Storehouse
from ..engine.taking import at
from ..model.catalogue import Entry
from ..model.targets import Target, choose
from ..model.wal import lsn_text
from . import logfiles
from .scratch import Scratch, ScratchFailed, make_folder
from .unpacking import extract_base, extract_dump

Hear = Callable[[str], None]


@dataclass
class Phases:
    """How long each phase took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the time of the block as that phase's."""
        began = monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + monotonic() - began, 3)

    def stood_back(self, name: str, seconds: float) -> None:
        """Take the time that a phase waited for others out of it."""
        if seconds:
            self.seconds[name] = round(self.seconds[name] - seconds, 3)
            self.seconds["stood_back"] = round(seconds, 3)

    @property
    def total(self) -> float:
        """All together."""
        return round(sum(self.seconds.values()), 3)


@dataclass
class Restored:
    """A server that was restored and runs."""

    entry: Entry
    target: Target
    scratch: Scratch
    phases: Phases
    reached_lsn: str | None = None
    reached_at: datetime | None = None
    timeline: int | None = None
    log_files: int = 0


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a restore takes everything from."""

    storehouse: Storehouse
    place: Place
    identity: Secret | None
    programs: Programs
    incoming: Path | None = None


async def restore(
    source: Source,
    target: Target,
    into: Path,
    *,
    backup_id: str | None = None,
    pause: bool = False,
    nice: int = 0,
    hear: Hear = lambda step: None,
    passed: Callable[[int], None] = lambda size: None,
) -> Restored:
    """Restore into a new folder and return the running server, which the caller stops.

    With `pause` the server stays read-only at the target; otherwise it is promoted and can be written to.
    `nice` is how far it steps back behind everything else on the machine.
    Raises `Damaged` before anything is started when a single bit differs, `LogMissing` for a gap in the log,
    `ScratchFailed` when the target is not reached. What lies in the folder is then of no use.
    """
    entries, _ = await trio.to_thread.run_sync(source.storehouse.entries, source.place)
    try:
        entry = choose(entries, target, backup_id=backup_id)
    except ValueError as error:
        raise WharfdError(f"{error} (looked in {source.place.name})") from None
    if source.programs.version[0] != entry.server_version // 10000 and entry.method == "physical":
        raise WharfdError(
            f"{entry.id} is of PostgreSQL {entry.server_version // 10000}, the programs here are "
            f"{source.programs.version[0]}; name those of its version with [database] bin_dir"
        )
    make_folder(into, source.programs)
    restored = Restored(entry, target, Scratch(into, source.programs, entry.superuser, nice=nice), Phases())
    try:
        if entry.method == "physical":
            await _physical(source, restored, pause, hear, passed)
        else:
            await _logical(source, restored, pause, hear, passed)
    except BaseException:
        await restored.scratch.stop()
        raise
    return restored


async def _physical(
    source: Source, restored: Restored, pause: bool, hear: Hear, passed: Callable[[int], None]
) -> None:
    entry, target, scratch = restored.entry, restored.target, restored.scratch
    confinement, phases = source.programs.confinement, restored.phases
    log_folder = scratch.folder / "wal"
    for folder in (scratch.data, log_folder):
        folder.mkdir(mode=0o700)
        confinement.give(folder)
    hear("fetching")
    with phases.timed("fetch"):
        await trio.to_thread.run_sync(
            extract_base, source.place, entry, scratch.data, source.identity, confinement, passed
        )
    hear("verified")
    with phases.timed("log"):
        plan = await trio.to_thread.run_sync(
            lambda: logfiles.gather(
                source.storehouse,
                source.place,
                entry,
                target,
                log_folder,
                source.identity,
                confinement,
                base_log=scratch.data / "pg_wal",
                incoming=source.incoming,
            )
        )
        restored.log_files = len(plan.usable)
        settings = {
            "restore_command": logfiles.restore_command(log_folder),
            "recovery_target_action": "pause" if pause else "promote",
            "recovery_target_timeline": str(plan.timeline),
        }
        if target.time is not None:
            settings["recovery_target_time"] = target.time.isoformat(sep=" ")
        else:
            lsn = target.lsn
            if lsn is None:
                lsn = await logfiles.last_record(source.programs, log_folder, plan.usable)
            settings["recovery_target_lsn"] = lsn_text(lsn)
    hear("gathered")
    with phases.timed("start"):
        # Its own disk, and not every disk of the machine: somebody else may be writing there.
        await trio.run_process(["sync", "-f", str(scratch.data)], check=False)
        await scratch.start(settings, recover=True)
    hear("started")
    with phases.timed("replay"):
        if pause:
            await scratch.wait_until("SELECT pg_get_wal_replay_pause_state()", "paused")
            scratch.paused = True
        else:
            # The server answers long before it is at the target; only the end of recovery tells.
            await scratch.wait_until("SELECT pg_is_in_recovery()", "f")
    hear("reached")
    row = (await scratch.ask(_REACHED))[0]
    restored.reached_lsn = row[0] or settings.get("recovery_target_lsn")
    restored.reached_at = at(row[1]) if row[1] else None
    restored.timeline = int(row[2])
    if pause:
        return
    # A row committed after what was asked for would mean that recovery went too far.
    if target.time is not None and restored.reached_at and restored.reached_at > target.time:
        raise ScratchFailed(f"recovery went past {target}, to a commit of {restored.reached_at.isoformat()}")


_REACHED = """SELECT pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp(),
  (SELECT timeline_id FROM pg_control_checkpoint())"""


async def _logical(
    source: Source, restored: Restored, pause: bool, hear: Hear, passed: Callable[[int], None]
) -> None:
    entry, scratch, programs = restored.entry, restored.scratch, source.programs
    phases, dump = restored.phases, scratch.folder / "dump"
    hear("fetching")
    with phases.timed("fetch"):
        await trio.to_thread.run_sync(extract_dump, source.place, entry, dump, source.identity, passed)
    hear("verified")
    with phases.timed("start"):
        scratch.data.mkdir(mode=0o700)
        programs.confinement.give(scratch.data)
        await programs.confined("initdb", *_initdb(scratch.data, programs.version[0], entry.superuser))
        await scratch.start({"fsync": "off", "maintenance_work_mem": "256MB"}, recover=False)
        await scratch.wait_until("SELECT pg_is_in_recovery()", "f")
    hear("started")
    with phases.timed("replay"):
        await scratch.ask(f"CREATE DATABASE {quoted(entry.database)}")
        options = ["--no-owner", "--no-privileges", "--exit-on-error", "-j2"]
        dsn = scratch.dsn(entry.database)
        await programs.call("pg_restore", *options, "-d", dsn, str(dump), dsn=dsn)
        if pause:  # it is never in recovery, and so nothing else keeps it as it was
            name = quoted(entry.database)
            await scratch.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    restored.reached_at = entry.finished_at
    hear("reached")


def _initdb(data: Path, major: int, superuser: str) -> list[str]:
    # A collation no library update can change, as the embedded server has.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    if major < 17:
        locale = ["--locale=C", "--lc-ctype=C.UTF-8"]
    return [
        "-D",
        str(data),
        "-U",
        superuser,
        "-E",
        "UTF8",
        *locale,
        "--data-checksums",
        "--auth=trust",
        "--no-sync",
    ]
