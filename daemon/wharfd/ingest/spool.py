"""The spool of one source: acknowledged deliveries on disk while PostgreSQL is away.

Append-only segment files in a folder of their own. A record is acknowledged after its bytes, and the name of
its file, were fsynced. A segment is deleted only after everything in it was committed elsewhere; until then a
crash merely brings records back that the store has already, which it collapses as it does any duplicate.
Damaged bytes and records nobody can store are moved to `quarantine`, never dropped. What drains the spool
lies in `draining`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ..errors import SpoolError
from .frames import FILE_HEADER, Damage, Record, frame, scan

Step = Callable[[str], None]


def no_step(name: str) -> None:
    """Stand at no named step."""


@dataclass
class SpoolBudget:
    """What all spools together may take of the disk. `used` is kept by the spools."""

    max_bytes: int = 1 << 30
    min_free_bytes: int = 256 << 20
    used: int = 0

    def check(self, folder: Path, more: int) -> None:
        """Raise `SpoolError` if `more` bytes do not fit."""
        if self.used + more > self.max_bytes:
            raise SpoolError(
                f"the spool holds {self.used} bytes and may hold {self.max_bytes};"
                " raise [ingest] spool_max_bytes"
            )
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize - more < self.min_free_bytes:
            raise SpoolError(f"the disk of {folder} has less than {self.min_free_bytes} bytes left")


@dataclass(eq=False)
class Segment:
    """A file of the spool. `drained` counts the records at its start that are stored elsewhere."""

    path: Path
    size: int = 0
    records: int = 0
    oldest_at: float | None = None
    drained: int = 0


@dataclass
class _Group:
    """Records that wait for the same fsync."""

    frames: list[bytes] = field(default_factory=list)
    done: bool = False
    failure: SpoolError | None = None


class Spool:
    """Open with `await Spool.open(folder, budget)`. One process at a time, see `Spools`."""

    def __init__(self, folder: Path, budget: SpoolBudget, segment_bytes: int, step: Step) -> None:
        self.folder = folder
        self.quarantine = folder / "quarantine"
        self.damages: list[str] = []  # what `open` and `read` found, for whoever reports it
        self._budget = budget
        self._segment_bytes = segment_bytes
        self._step = step
        self._segments: list[Segment] = []
        self._active: tuple[Segment, int] | None = None
        self._number = 0
        self._waiting = _Group()
        self._lock = trio.Lock()

    @classmethod
    async def open(
        cls, folder: Path, budget: SpoolBudget, *, segment_bytes: int = 4 << 20, step: Step = no_step
    ) -> Spool:
        """Make the folder if need be and take in what an earlier run left; torn ends are cut off.

        `step` hears the name of each step that a crash can fall between; the fault tests use it.
        Raises `SpoolError` if the folder cannot be used.
        """
        spool = cls(folder, budget, segment_bytes, step)
        try:
            await trio.to_thread.run_sync(spool._recover)
        except OSError as error:
            raise SpoolError(f"cannot use the spool {folder}: {error.strerror}") from error
        return spool

    @property
    def records(self) -> int:
        """How many records wait to be stored."""
        return sum(segment.records - segment.drained for segment in self._segments)

    @property
    def size(self) -> int:
        """How many bytes the waiting segments take."""
        return sum(segment.size for segment in self._segments)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest waiting record was written, as a Unix time."""
        return next((s.oldest_at for s in self._segments if s.records), None)

    @property
    def quarantined(self) -> int:
        """How many files lie in quarantine."""
        return sum(1 for path in self.quarantine.iterdir() if path.suffix in (".rec", ".bad"))

    async def append(self, payloads: Sequence[bytes]) -> None:
        """Put payloads on disk for good; when this returns they survive a crash and a power cut.

        Concurrent calls share one fsync. Raises `SpoolError`, and then none of them counts as kept.
        """
        now = time.time()
        group = self._waiting
        group.frames += [frame(payload, now) for payload in payloads]
        with trio.CancelScope(shield=True):
            async with self._lock:
                if not group.done:
                    self._waiting = _Group()
                    try:
                        await trio.to_thread.run_sync(self._write, group.frames, now)
                    except (OSError, SpoolError) as error:
                        group.failure = (
                            error
                            if isinstance(error, SpoolError)
                            else SpoolError(f"cannot write to the spool {self.folder}: {error.strerror}")
                        )
                    group.done = True
        if group.failure is not None:
            raise SpoolError(str(group.failure)) from group.failure

    async def oldest(self) -> Segment | None:
        """Return the oldest segment with something in it; nothing is appended to it from now on."""
        async with self._lock:
            if self._active is not None and self._segments[0] is self._active[0]:
                await trio.to_thread.run_sync(self._seal)
            return self._segments[0] if self._segments else None

    async def read(self, segment: Segment) -> Sequence[Record]:
        """Return the records of a sealed segment that are not drained yet. Damage is set aside."""
        records = await trio.to_thread.run_sync(self._read, segment)
        return records[segment.drained :]

    async def discard(self, segment: Segment) -> None:
        """Delete a segment of which everything is stored elsewhere."""
        async with self._lock:
            await trio.to_thread.run_sync(self._delete, segment)

    async def set_aside(self, segment: Segment, record: Record, why: str) -> None:
        """Keep a record in quarantine, with the reason, so that its segment can go."""
        name = f"{segment.path.stem}-{record.offset:010d}.rec"
        await trio.to_thread.run_sync(
            self._keep, name, FILE_HEADER + frame(record.payload, record.written_at), why
        )

    async def readmit(self) -> int:
        """Append every whole record in quarantine again and return how many there were."""
        paths = sorted(self.quarantine.glob("*.rec"))
        for path in paths:
            records, _ = scan(await trio.to_thread.run_sync(path.read_bytes))
            await self.append([record.payload for record in records])
            await trio.to_thread.run_sync(self._forget, path)
        return len(paths)

    async def close(self) -> None:
        """Close the file at hand; what is in it stays for the next run."""
        async with self._lock:
            await trio.to_thread.run_sync(self._seal)

    # -- in a thread, one at a time ---------------------------------------------------------------------

    def _recover(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.quarantine.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(self.folder)
        _sync_folder(self.folder.parent)
        for unfinished in self.quarantine.glob("*.tmp"):
            unfinished.unlink()
        self._budget.used += sum(path.stat().st_size for path in self.quarantine.iterdir())
        for path in sorted(self.folder.glob("[0-9]*.seg")):
            self._number = max(self._number, int(path.stem))
            segment = Segment(path)
            records = self._read(segment)
            if not records:
                path.unlink()  # only an unacknowledged beginning; what it held is in quarantine
                continue
            segment.size = path.stat().st_size
            segment.records = len(records)
            segment.oldest_at = records[0].written_at
            self._budget.used += segment.size
            self._segments.append(segment)
        _sync_folder(self.folder)

    def _write(self, frames: Sequence[bytes], now: float) -> None:
        data = b"".join(frames)
        self._budget.check(self.folder, len(data))
        created = self._active is None or self._active[0].size >= self._segment_bytes
        if created:
            self._seal()
            self._create()
        assert self._active is not None
        segment, descriptor = self._active
        try:
            self._step("before_write")
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._step("written")
            os.fdatasync(descriptor)
            if created:
                _sync_folder(self.folder)
            self._step("synced")
        except OSError:
            self._abandon()
            raise
        segment.size += len(data)
        segment.records += len(frames)
        segment.oldest_at = segment.oldest_at or now
        self._budget.used += len(data)

    def _create(self) -> None:
        self._number += 1
        path = self.folder / f"{self._number:012d}.seg"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._step("created")
        segment = Segment(path)
        self._segments.append(segment)
        self._active = segment, descriptor
        try:
            segment.size = os.write(descriptor, FILE_HEADER)
            self._budget.used += segment.size
        except OSError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Never write to this file again: after a failed write or fsync nobody knows what the disk has."""
        assert self._active is not None
        segment, descriptor = self._active
        self._active = None
        with suppress(OSError):  # the tail was not acknowledged; it may stay and be stored all the same
            os.ftruncate(descriptor, segment.size)
        with suppress(OSError):  # the first failure is already being reported
            os.close(descriptor)
        if not segment.records:
            self._segments.remove(segment)
            self._budget.used -= segment.size
            with suppress(OSError):  # an empty file is removed by the next start
                segment.path.unlink()

    def _seal(self) -> None:
        if self._active is not None:
            os.close(self._active[1])
            self._active = None

    def _read(self, segment: Segment) -> Sequence[Record]:
        data = segment.path.read_bytes()
        records, damages = scan(data)
        for damage in damages:
            self._set_damage_aside(segment.path, data, damage)
        return records

    def _set_damage_aside(self, path: Path, data: bytes, damage: Damage) -> None:
        what = "torn end" if damage.tail else "damaged bytes"
        why = f"{what} of {path.name}: bytes {damage.start} to {damage.end} are no whole record"
        name = f"{path.stem}-{damage.start:010d}.bad"
        if not (self.quarantine / name).exists():
            self._keep(name, data[damage.start : damage.end], why)
            self.damages.append(why)
        if damage.tail:
            os.truncate(path, damage.start)
            _sync_file(path)

    def _keep(self, name: str, data: bytes, why: str) -> None:
        for path, content in (
            (self.quarantine / f"{name}.why", why.encode()),
            (self.quarantine / name, data),
        ):
            unfinished = path.with_name(f"{path.name}.tmp")
            unfinished.write_bytes(content)
            _sync_file(unfinished)
            unfinished.replace(path)
            self._budget.used += len(content)
        _sync_folder(self.quarantine)
        self._step("set_aside")

    def _forget(self, path: Path) -> None:
        for gone in (path, path.with_name(f"{path.name}.why")):
            if gone.exists():
                self._budget.used -= gone.stat().st_size
                gone.unlink()
        _sync_folder(self.quarantine)

    def _delete(self, segment: Segment) -> None:
        self._step("before_delete")
        segment.path.unlink(missing_ok=True)
        _sync_folder(self.folder)
        self._step("deleted")
        self._segments.remove(segment)
        self._budget.used -= segment.size


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
