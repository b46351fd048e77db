"""The write-ahead log for a restore: which files are needed, whether all are there, decoded and verified."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from wharfd import Confinement, Place, Secret, StorageError, WharfdError, unpack

from ..engine.programs import Programs
from ..engine.storehouse import Logged, Storehouse
from ..model.catalogue import Entry
from ..model.targets import Target
from ..model.wal import (
    Gap,
    Segment,
    gaps,
    header_fits,
    is_history,
    is_segment,
    lsn_of,
    lsn_text,
    path_to,
    read_history,
    segment_at,
    segment_named,
)
from .unpacking import Damaged

if TYPE_CHECKING:
    from .restore import Restored

_PARTIAL = ".partial"


class LogMissing(WharfdError):
    """The write-ahead log does not lead to where the restore was to go."""


class Plan(msgspec.Struct, frozen=True):
    """Which files of the log a restore uses: `needed` in order, and where they end."""

    needed: tuple[Segment, ...]
    gap: Gap | None
    timeline: int

    @property
    def usable(self) -> tuple[Segment, ...]:
        """The files before the first gap."""
        if self.gap is None:
            return self.needed
        names = [segment.name for segment in self.needed]
        return self.needed[: names.index(self.gap.first)]


def plan(entry: Entry, target: Target, there: Iterable[str], histories: dict[int, str]) -> Plan:
    """Say which log files lead from a backup to the target.

    Raises `LogMissing` where a gap lies before a target that is known by position, and for the latest one
    where a gap lies anywhere: without this check PostgreSQL would open with the rows after the gap lost.
    """
    assert entry.start_lsn is not None
    assert entry.end_lsn is not None
    assert entry.timeline is not None
    start, size = lsn_of(entry.start_lsn), entry.segment_bytes
    have = [segment_named(name, size) for name in there if is_segment(name)]
    have = [segment for segment in have if segment.timeline >= entry.timeline]
    if target.lsn is not None:
        wanted = [s for s in have if s.number == target.lsn // size]
        last = max(wanted, default=segment_at(target.lsn, entry.timeline, size))
    else:
        at_least = segment_at(lsn_of(entry.end_lsn) - 1, entry.timeline, size)
        last = max([at_least, *have])
    try:
        needed = path_to(entry.timeline, start, last, histories)
    except ValueError as error:
        raise LogMissing(f"the log of {entry.id} cannot be followed to {target}: {error}") from None
    missing = gaps(needed, [segment.name for segment in have])
    if missing and target.kind not in ("time", "gap"):
        raise LogMissing(
            f"the write-ahead log has a gap before {target}: {missing[0]} missing; restore from the other "
            "place, from a later backup, or to before it with --before-gap, losing everything after"
        )
    return Plan(tuple(needed), missing[0] if missing else None, last.timeline)


def decode(
    place: Place,
    logged: Logged,
    into: Path,
    identity: Secret | None,
    confinement: Confinement,
    *,
    system: str | None,
    size: int,
) -> None:
    """Fetch one log file; raises `Damaged` unless it is the one its name says, bit for bit."""
    sha, target = hashlib.sha256(), into / logged.name
    temporary = into / f"{logged.name}.tmp"
    try:
        with temporary.open("wb") as file, place.open(logged.key) as packed:

            def write(data: bytes) -> None:
                sha.update(data)
                file.write(data)

            unpack(packed, write, identity, name=logged.key)
    except StorageError as error:
        raise Damaged(str(error)) from None
    if sha.hexdigest()[:16] != logged.sha16:
        raise Damaged(f"{logged.key} in {place.name} is not what was archived: its SHA-256 differs")
    if is_segment(logged.name):
        check_segment(temporary, logged.name, system=system, size=size)
    confinement.give(temporary)
    temporary.rename(target)


def check_segment(path: Path, name: str, *, system: str | None, size: int) -> None:
    """Raise `Damaged` unless a file is a whole log file of that name and cluster."""
    with path.open("rb") as file:
        first = file.read(64)
    if path.stat().st_size != size or not header_fits(first, name, system, size):
        raise Damaged(f"the log file {name} is not the one its name says, or of another cluster")


def gather(
    storehouse: Storehouse,
    place: Place,
    entry: Entry,
    target: Target,
    into: Path,
    identity: Secret | None,
    confinement: Confinement,
    *,
    base_log: Path | None = None,
    incoming: Path | None = None,
    passed: Callable[[str], None] = lambda name: None,
) -> Plan:
    """Put every log file a restore needs into a folder, decoded and verified, and return the plan.

    Beside the archive there are the files inside the base backup, and, while the machine still has them,
    those that were received and not archived yet; the last of them may be a `.partial` one.
    """
    assert entry.system is not None
    archived = storehouse.log_files(entry.system, place)
    for logged in archived.values():
        if is_history(logged.name):
            decode(place, logged, into, identity, confinement, system=None, size=0)
    histories = {int(path.name[:8], 16): path.read_text() for path in into.glob("*.history")}
    local = {**_lying_in(base_log), **_lying_in(incoming)}
    plan_ = plan(entry, target, {*archived, *local}, histories)
    for segment in plan_.usable:
        if segment.name not in archived and not _copied(segment, local, into, entry, confinement):
            # It went from the incoming folder into the archive while we looked.
            archived = storehouse.log_files(entry.system, place)
            if segment.name not in archived:
                raise LogMissing(f"{segment.name} was received, and is gone now")
        if segment.name in archived:
            logged = archived[segment.name]
            decode(place, logged, into, identity, confinement, system=entry.system, size=entry.segment_bytes)
        passed(segment.name)
    return plan_


def _copied(
    segment: Segment, local: dict[str, Path], into: Path, entry: Entry, confinement: Confinement
) -> bool:
    """Copy a file that was received; false when it is not there any more under either of its names."""
    known = local[segment.name]
    for source in (known, known.with_name(segment.name)):
        copied = into / segment.name
        try:
            shutil.copyfile(source, copied)
        except FileNotFoundError:
            continue
        check_segment(copied, segment.name, system=entry.system, size=entry.segment_bytes)
        confinement.give(copied)
        return True
    return False


def _lying_in(folder: Path | None) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        return {}
    found = {path.name.removesuffix(_PARTIAL): path for path in folder.glob(f"*{_PARTIAL}")}
    found |= {path.name: path for path in folder.iterdir() if is_segment(path.name)}
    return {name: path for name, path in found.items() if is_segment(name)}


async def last_record(programs: Programs, folder: Path, segments: tuple[Segment, ...]) -> int:
    """Return the position of the last whole record in these log files: the furthest a restore can go to."""
    for segment in reversed(segments):
        lsn = await _last_in(programs, folder / segment.name)
        if lsn is not None:
            return lsn
    raise LogMissing("the write-ahead log holds no whole record")


async def _last_in(programs: Programs, path: Path) -> int | None:
    # It ends with an error where the log ends; what it printed before is what counts.
    command = [str(programs.binaries.program("pg_waldump")), str(path)]

    def read() -> int | None:
        import subprocess

        _, env = programs.environment()
        last = b""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if b"lsn: " in line:
                    last = line
        return lsn_of(last.split(b"lsn: ")[1].split(b",")[0].decode()) if last else None

    return await trio.to_thread.run_sync(read)


async def read_through(programs: Programs, restored: Restored) -> str:
    """Read every record from the backup's start to where recovery ended; raises `ProgramFailed`.

    Recovery has read them too. This says so apart from it, and in the words of PostgreSQL's own reader.
    """
    entry, folder = restored.entry, restored.scratch.folder / "wal"
    assert entry.start_lsn is not None
    at, pieces = lsn_of(entry.start_lsn), []
    last = max(segment_named(p.name, entry.segment_bytes) for p in folder.iterdir() if is_segment(p.name))
    if last.timeline != entry.timeline:
        for switch in read_history((folder / f"{last.timeline:08X}.history").read_text()):
            if switch.timeline >= (entry.timeline or 1) and switch.lsn > at:
                pieces.append((switch.timeline, at, switch.lsn))
                at = switch.lsn
    if restored.reached_lsn is not None and lsn_of(restored.reached_lsn) > at:
        pieces.append((last.timeline, at, lsn_of(restored.reached_lsn)))
    for timeline, start, end in pieces:
        where = ["-p", str(folder), "-t", str(timeline), "-s", lsn_text(start), "-e", lsn_text(end)]
        await programs.call("pg_waldump", "-q", *where)
    return f"{sum(end - start for _, start, end in pieces)} bytes of records from {entry.start_lsn} on"


def restore_command(folder: Path) -> str:
    """Return the command with which a server fetches log files.

    1 means "there is none", after which the server takes the log to have ended; every other trouble must be
    above 125, which stops it at once.
    """
    where = str(folder).replace("'", "'\\''").replace("%", "%%")
    return f"test -e '{where}/%f' || exit 1; cp '{where}/%f' \"%p\" || exit 255"
