"""The one or two places of the backups, as one: written to the first, copied to the second, listed from both.

Keys:
    backups/<id>.…            the objects of a backup
    catalogue/<id>.json       its entry, written last
    wal/<cluster>/<file>.<first 16 digits of its SHA-256>.zst[.age]      the write-ahead log
    wal/<cluster>/<timeline>.history.….zst[.age]

All methods block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wharfd import Folder, Place, StorageError, copy_object, read_object

from ..model import catalogue
from ..model.catalogue import BadEntry, Entry
from ..model.wal import Gap, is_history, is_segment

Hear = Callable[[str], None]


@dataclass(frozen=True)
class Logged:
    """A file of the write-ahead log in a place."""

    name: str
    key: str
    sha16: str
    size: int


class Storehouse:
    """Where the backups are."""

    def __init__(self, first: Folder, second: Place | None = None) -> None:
        self.first = first
        self.second = second

    @property
    def places(self) -> list[Place]:
        """The places there are."""
        return [self.first] if self.second is None else [self.first, self.second]

    def add(self, entry: Entry, hear: Hear) -> None:
        """Copy the objects of a backup to the second place and then write its entry, there and here.

        Doing it again after a crash adds what is missing. An id is never given to two backups.
        """
        raw, key = catalogue.encode(entry), catalogue.key_of(entry.id)
        if self.second is not None:
            for part in entry.parts:
                copy_object(self.first, self.second, part.key, size=part.bytes, sha256=part.sha256)
            hear("copied")
            _create(self.second, key, raw)
            hear("entered_second")
        _create(self.first, key, raw)
        hear("entered")

    def entries(self, place: Place | None = None) -> tuple[list[Entry], list[str]]:
        """Return the backups of a place, oldest first, and what is wrong with entries that are damaged."""
        place, found, wrong = place or self.first, [], []
        for one in place.list(catalogue.PREFIX):
            try:
                found.append(catalogue.decode(read_object(place, one.key), key=one.key))
            except BadEntry as error:
                wrong.append(str(error))
        return sorted(found, key=lambda entry: entry.finished_at), wrong

    def entry(self, backup_id: str) -> Entry | None:
        """Return a backup's entry, from whichever place has it whole."""
        for place in self.places:
            try:
                return catalogue.decode(
                    read_object(place, catalogue.key_of(backup_id)), key=catalogue.key_of(backup_id)
                )
            except (FileNotFoundError, BadEntry):
                continue
        return None

    def forget(self, entry: Entry) -> None:
        """Remove a backup: its entry first, so that it never looks whole while its objects go."""
        for place in self.places:
            place.delete(catalogue.key_of(entry.id))
        for place in self.places:
            for part in entry.parts:
                place.delete(part.key)

    def clear(self) -> list[str]:
        """Remove what interrupted backups left; call only while none is being made.

        With a damaged entry in the catalogue nothing is removed: its objects might be all there is.
        """
        removed = [*self.first.sweep("backups"), *self.first.sweep("catalogue")]
        for place in self.places:
            entries, wrong = self.entries(place)
            if wrong:
                continue
            for key in catalogue.orphans([one.key for one in place.list("backups/")], entries):
                place.delete(key)
                removed.append(key)
        return removed

    def log_files(self, system: str, place: Place | None = None) -> dict[str, Logged]:
        """Return the archived log files of a cluster by name; raises `StorageError` for two of one name."""
        found: dict[str, Logged] = {}
        for one in (place or self.first).list(f"wal/{system}/"):
            name, _, rest = one.key.rpartition("/")[2].partition(".")
            if name and rest.startswith("history."):
                name, rest = f"{name}.history", rest.removeprefix("history.")
            if not (is_segment(name) or is_history(name)):
                continue
            logged = Logged(name, one.key, rest.split(".")[0], one.size)
            if name in found:
                raise StorageError(f"{name} of cluster {system} was archived twice with different bytes")
            found[name] = logged
        return found

    def mirror_log(self, system: str, done: set[str]) -> int:
        """Copy log files that the second place has not yet; `done` remembers which it has."""
        if self.second is None:
            return 0
        if not done:
            done.update(one.key for one in self.second.list(f"wal/{system}/"))
        copied = 0
        for logged in self.log_files(system).values():
            if logged.key not in done:
                self.second.put(logged.key, self.first.path(logged.key))
                if self.second.size(logged.key) != logged.size:
                    raise StorageError(f"{logged.key} in {self.second.name} is not of its size")
                done.add(logged.key)
                copied += 1
        return copied

    def fetch_back(self, system: str, gaps: Iterable[Gap]) -> list[str]:
        """Copy log files that the first place lacks back from the second; return those it had."""
        if self.second is None or not (gaps := list(gaps)):
            return []
        found = []
        for name, logged in self.log_files(system, self.second).items():
            if any(gap.first <= name <= gap.last for gap in gaps):
                with self.second.open(logged.key) as source, self.first.writing(logged.key) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                found.append(name)
        return found

    def drop_log(self, system: str, names: Iterable[str]) -> int:
        """Remove log files that no backup needs."""
        names, count = set(names), 0
        for place in self.places:
            for name, logged in self.log_files(system, place).items():
                if name in names:
                    place.delete(logged.key)
                    count += place is self.first
        return count


def _create(place: Place, key: str, raw: bytes) -> None:
    try:
        place.create(key, raw)
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if read_object(place, key) == raw:
                return  # this very entry, from before a crash
        raise StorageError(f"{key} is in {place.name} already, and it is another backup") from None
