"""The write-ahead log as it is written: received within the commit's own second, archived file by file.

`pg_receivewal --synchronous` keeps a copy of every commit in `incoming`; whole files go from there, packed,
into the places. A slot on the server holds back what was not received; how much is bounded by the server's
`max_slot_wal_keep_size`, so that a dead receiver cannot fill its disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import time

import structlog
import trio

from wharfd import Packing, StorageError, WharfdError, pack

from ..model.wal import Gap, Segment, header_fits, holes, is_history, is_segment, lsn_of
from .awaiting import RECEIVER, Awaiting
from .programs import ProgramFailed, Programs
from .storehouse import Storehouse
from .taking import at

SLOT = "wharfd_backups"
_SLOT_STATE = f"SELECT wal_status, active FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
_MAKE_SLOT = f"SELECT pg_create_physical_replication_slot('{SLOT}', true)"
_DROP_SLOT = f"SELECT pg_drop_replication_slot('{SLOT}')"
_SWITCH = "SELECT clock_timestamp(), pg_walfile_name(pg_switch_wal())"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_END_SECONDS = 2.0


@dataclass
class LogState:
    """How the archiving of the log is doing; read by metrics and alerts."""

    receiving: bool = False
    reason: str = ""
    last_archived: str = ""
    waiting: int = 0
    oldest_waiting_at: float | None = None
    gaps: list[Gap] = field(default_factory=list)
    lost_slot: bool = False
    archived: int = 0
    oldest_ready_at: float | None = None  # of those that the server has not handed over
    settled_at: datetime | None = None  # what was committed before is in the places

    def waiting_seconds(self) -> float:
        """Return the age of the oldest whole file that is in no place yet.

        Not the time since the last one: an idle server writes none for hours, and all is well.
        """
        since = min(filter(None, (self.oldest_waiting_at, self.oldest_ready_at)), default=None)
        return 0.0 if since is None else max(0.0, time() - since)


class Receiver:
    """Receives and archives the log of one server."""

    def __init__(
        self,
        storehouse: Storehouse,
        programs: Programs,
        dsn: str,
        incoming: Path,
        packing: Packing,
        *,
        system: str,
        segment_bytes: int,
        log: structlog.stdlib.BoundLogger,
        awaiting: Awaiting | None = None,
    ) -> None:
        self.state = LogState()
        self.awaiting = awaiting
        self.incoming = incoming
        self._storehouse, self._programs, self._dsn, self._packing = storehouse, programs, dsn, packing
        self._system, self._segment_bytes, self._log = system, segment_bytes, log
        self._mirrored: set[str] = set()
        self._turn = trio.Lock()

    async def run(
        self, every_seconds: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Receive and archive until cancelled; trouble is noted, logged and tried again."""
        try:
            await self.prepare_slot()  # before the first backup that may be asked for
        except WharfdError as error:
            self.state.reason = str(error)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_for_ever)
            nursery.start_soon(self._archive_for_ever, every_seconds)
            if self.awaiting is not None:
                nursery.start_soon(self.awaiting.run)
            task_status.started()

    async def _receive_for_ever(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = trio.current_time()
            try:
                await self.prepare_slot()
                self.state.reason = ""
                await self._receive()
                why = "the server ended the stream"
            except WharfdError as error:
                why = str(error)
            self.state.receiving, self.state.reason = False, why
            if self.awaiting is not None:
                await self.awaiting.let_go("the receiver ended")
            pause = (
                _FIRST_PAUSE
                if trio.current_time() - began > _LONGEST_PAUSE
                else min(pause * 2, _LONGEST_PAUSE)
            )
            self._log.warning("log_receiver_ended", reason=why, again_in_seconds=pause)
            await trio.sleep(pause)

    async def prepare_slot(self) -> None:
        """Make the slot; one that the server gave up is made anew, and the hole it leaves is remembered."""
        make_incoming(self.incoming)
        rows = await self._programs.rows(self._dsn, _SLOT_STATE)
        if rows and rows[0][0] == "lost":
            self.state.lost_slot = True
            self._log.error("log_slot_lost", hint="a new base backup closes the hole")
            await self._programs.rows(self._dsn, _DROP_SLOT)
            await self.archive()
            await trio.to_thread.run_sync(self._lay_aside)
            rows = []
        if not rows:
            # It holds back the log from this very moment on, whenever the receiver gets to connect.
            await self._programs.rows(self._dsn, _MAKE_SLOT)

    def _lay_aside(self) -> None:
        """Rename the unfinished file: the receiver would ask the server to go on from it, in vain."""
        for path in self.incoming.glob("*.partial"):
            path.rename(path.with_name(f"{path.name}.lost"))

    async def _receive(self) -> None:
        bare, env = self._programs.environment(self._dsn)
        command = [
            str(self._programs.binaries.program("pg_receivewal")),
            "-D",
            str(self.incoming),
            "-S",
            SLOT,
        ]
        command += ["--synchronous", "--status-interval=1", "--no-loop", "-w", "-d", bare]
        env["PGAPPNAME"] = RECEIVER
        self.state.receiving = True
        done = await trio.run_process(command, env=env, check=False, capture_stderr=True, deliver_cancel=_end)
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise ProgramFailed(f"pg_receivewal ended ({done.returncode}): {' · '.join(words[-2:])}")

    async def _archive_for_ever(self, every_seconds: float) -> None:
        while True:
            began = trio.current_time()
            ended: tuple[datetime, str] | None = None
            try:
                row = (await self._programs.rows(self._dsn, _SWITCH))[0]
                ended = at(row[0]), row[1]
            except WharfdError as error:
                self._log.warning("log_switch_failed", reason=str(error))
            # The file that was just ended arrives within moments; look soon, and then again at leisure.
            await trio.sleep(min(2.0, every_seconds / 4))
            try:
                await self.archive()
                if ended is not None and self.state.last_archived >= ended[1]:
                    self.state.settled_at = ended[0]
            except (WharfdError, OSError) as error:
                self.state.reason = str(error)
                self._log.error("log_archiving_failed", reason=str(error))
            await trio.sleep(max(0.1, every_seconds - (trio.current_time() - began)))

    async def archive(self) -> int:
        """Put every whole file that was received into the places, and return how many went."""
        async with self._turn:
            return await trio.to_thread.run_sync(self._archive)

    def _archive(self) -> int:
        self.note_waiting()
        archived, whole = self._storehouse.log_files(self._system), self._whole()
        for path in whole:
            known = archived.get(path.name)
            keep_log_file(
                self._storehouse,
                path,
                self._packing,
                system=self._system,
                size=self._segment_bytes,
                there=None if known is None else known.sha16,
            )
        names = [name for name in (*archived, *(path.name for path in whole)) if is_segment(name)]
        self._storehouse.mirror_log(self._system, self._mirrored)
        for path in whole:  # and not one that arrived in the meantime
            path.unlink()
        for path in self.incoming.glob("*.backup"):  # a note of the server's own; the catalogue tells more
            path.unlink()
        self.note_waiting()
        self.state.last_archived = max(names, default="")
        self.state.archived += len(whole)
        return len(whole)

    def note_waiting(self) -> None:
        """Note how many whole files wait, and since when."""
        waiting = self._whole()
        self.state.waiting = len(waiting)
        self.state.oldest_waiting_at = min((path.stat().st_mtime for path in waiting), default=None)

    def _whole(self) -> list[Path]:
        return sorted(p for p in self.incoming.iterdir() if is_segment(p.name) or is_history(p.name))

    async def look_for_gaps(self) -> list[Gap]:
        """Find the log files that kept backups need and that no place has; kept in `state.gaps`.

        What one place lacks and the other has is copied: here at once, there with the next trip.
        """

        def look() -> list[Gap]:
            found = missing()
            back = self._storehouse.fetch_back(self._system, found)
            if back:
                self._log.warning("log_files_fetched_back", files=back, place=self._storehouse.first.name)
            self._mirrored.clear()  # the second place is listed anew
            return missing() if back else found

        def missing() -> list[Gap]:
            entries = [e for e in self._storehouse.entries()[0] if e.system == self._system]
            names = {name for name in self._storehouse.log_files(self._system) if is_segment(name)}
            starts = []
            for entry in entries:
                if entry.start_lsn and entry.end_lsn and entry.timeline:
                    first, last = lsn_of(entry.start_lsn), lsn_of(entry.end_lsn)
                    starts.append(first)
                    own = range(first // entry.segment_bytes, last // entry.segment_bytes)
                    names |= {Segment(entry.timeline, n, entry.segment_bytes).name for n in own}
            return holes(names, min(starts, default=0), self._segment_bytes)

        async with self._turn:
            self.state.gaps = await trio.to_thread.run_sync(look)
        return self.state.gaps


def make_incoming(folder: Path) -> None:
    """Make the folder of the log as it is received."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {folder} of the received log cannot be made: {error.strerror}; make it, give it to "
            "wharfd's user, and name it in ReadWritePaths= of the unit"
        ) from None


async def _end(receiver: trio.Process) -> None:
    """End the receiver in order, or in any case: one that hangs hears nothing."""
    receiver.terminate()
    await trio.sleep(_END_SECONDS)
    receiver.kill()


def keep_log_file(
    storehouse: Storehouse,
    path: Path,
    packing: Packing,
    *,
    system: str,
    size: int,
    there: str | None = None,
    hear: Callable[[str], None] = lambda step: None,
) -> str:
    """Put one log file into the first place and return its key.

    The same file again is left alone; another file of the same name is refused: it would be a second server
    that writes into this archive. `there` is the digest of the archived file of that name.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if there is not None and there != digest:
        raise StorageError(
            f"{path.name} of cluster {system} is archived already with different bytes; is a copy of this "
            "server writing into the same place?"
        )
    key = f"wal/{system}/{path.name}.{digest}{packing.suffix}"
    if there is not None:
        return key
    if is_segment(path.name):
        with path.open("rb") as file:
            if not header_fits(file.read(64), path.name, system, size):
                raise StorageError(f"the received log file {path.name} is not the one its name says")
    with path.open("rb") as source, storehouse.first.writing(key) as file:
        hear("archiving")
        packed = pack(source, file, packing)
    hear("archived")
    if is_segment(path.name) and packed.bytes_in != size:
        storehouse.first.delete(key)
        raise StorageError(f"the log file {path.name} changed while it was archived")
    return key
