"""The archive: JSON Lines, compressed, perhaps encrypted, each file with a signed manifest beside it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import msgspec
import trio

from wharfd import (
    Conflict,
    Database,
    Folder,
    Packing,
    Place,
    Secret,
    StorageError,
    __version__,
    copy_object,
    pack,
    read_object,
    unpack,
)

from .model import Gate, Policy
from .store import Unit
from .tables import FETCH, declare_rows, facts

PURPOSE = "retention.archives"  # of the key that manifests are signed with
_WAITING_BATCHES = 4
_LOT = 1000


class ArchiveDamaged(Conflict):
    """An archive is not what was written; nothing is deleted because of it."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive file holds."""

    format: int = 1
    unit: str
    rule: str
    table: str
    columns: dict[str, str]
    key: str
    rows: int
    first: datetime | None
    last: datetime | None
    lines_sha256: str
    size: int
    sha256: str
    row_hash: str | None
    encrypted: bool
    wharfd: str
    signature: str = ""

    def signed_part(self) -> bytes:
        """Return the bytes that the signature is over."""
        return msgspec.json.encode(msgspec.structs.replace(self, signature=""), order="sorted")


class Archive:
    """The one or two places of the archive."""

    def __init__(
        self, first: Folder, second: Place | None, packing: Packing, identity: Secret | None
    ) -> None:
        self.first, self.second = first, second
        self._packing, self._identity = packing, identity

    def key(self, unit: Unit) -> str:
        """Return where a unit's rows go."""
        return f"archive/{unit.source}/{unit.id}.jsonl{self._packing.suffix}"

    async def export(
        self,
        db: Database,
        unit: Unit,
        policy: Policy,
        gate: Gate,
        columns: dict[str, str],
        limit: int | None,
        hear: Callable[[str], None] = lambda step: None,
    ) -> Manifest:
        """Write a unit's rows from one snapshot and return the manifest; the file is on disk by then."""
        lines = Lines()
        send, receive = trio.open_memory_channel[bytes](_WAITING_BATCHES)
        key, packed = self.key(unit), list[Any]()
        row_hash: str | None = None

        def write() -> None:
            with self.first.writing(key) as file:
                packed.append(pack(_FromTask(receive), file, self._packing))

        async with db.transaction(isolation="repeatable_read", readonly=True) as tx:
            if limit is None:
                _, row_hash = await facts(tx, policy, unit.table)
            await tx.execute(declare_rows(policy, unit.table, gate, limit), *gate.values)
            with unwrap_one():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, write)
                    async with send:
                        while rows := await tx.fetch(FETCH, timeout=600):
                            await send.send(lines.take([(row["line"], row["at"]) for row in rows]))
                            hear("lines")
        return Manifest(
            unit=unit.id, rule=unit.rule, table=unit.source, columns=columns, key=key, rows=lines.count,
            first=lines.first, last=lines.last, lines_sha256=lines.sha.hexdigest(), size=packed[0].bytes_out,
            sha256=packed[0].sha256, row_hash=row_hash, encrypted=bool(self._packing.recipients),
            wharfd=__version__,
        )  # fmt: skip

    def scan(
        self, manifest: Manifest, give: Callable[[list[str]], object], place: Place | None = None
    ) -> None:
        """Give the lines of an archive in lots; raises `ArchiveDamaged` unless all is as it was written.

        What was given before it raises is to be thrown away. Blocks: call it in a thread.
        """
        place = place or self.first
        sha, count, rest = hashlib.sha256(), 0, b""

        def take(data: bytes) -> None:
            nonlocal rest, count
            sha.update(data)
            *whole, rest = (rest + data).split(b"\n")
            count += len(whole)
            for start in range(0, len(whole), _LOT):
                give([line.decode() for line in whole[start : start + _LOT]])

        try:
            with place.open(manifest.key) as file:
                seen = unpack(file, take, self._identity, name=manifest.key)
        except (StorageError, FileNotFoundError) as error:
            raise ArchiveDamaged(f"{place.name}: {error}") from None
        if (sha.hexdigest(), count, rest) != (manifest.lines_sha256, manifest.rows, b""):
            raise ArchiveDamaged(f"{manifest.key} in {place.name} holds other rows than were written")
        if seen.sha256 != manifest.sha256:
            raise ArchiveDamaged(f"{manifest.key} in {place.name} has other bytes than were written")

    def verify(self, manifest: Manifest) -> None:
        """Read an archive back from the first place; raises `ArchiveDamaged`."""
        self.scan(manifest, lambda lot: None)

    def spread(self, manifest: Manifest, hear: Callable[[str], None]) -> None:
        """Copy an archive to the second place, read it back there, and put the manifests beside, last."""
        raw, key = msgspec.json.encode(manifest), f"archive/{manifest.table}/{manifest.unit}.manifest.json"
        if self.second is not None:
            copy_object(self.first, self.second, manifest.key, size=manifest.size, sha256=manifest.sha256)
            hear("copied")
            _create(self.second, key, raw)
            hear("told")
        _create(self.first, key, raw)

    @property
    def places(self) -> list[Place]:
        """The places, the first first."""
        return [self.first] if self.second is None else [self.first, self.second]

    def troubles(self, manifest: Manifest) -> list[tuple[Place, str]]:
        """Read an archive back in every place; return what is wrong there, "" where it is whole."""
        found = []
        for place in self.places:
            try:
                self.scan(manifest, lambda lot: None, place)
                found.append((place, ""))
            except ArchiveDamaged as error:
                found.append((place, str(error)))
        return found

    def whole_copy(self, manifest: Manifest) -> Place:
        """Return the first place whose copy has, byte for byte, what was written; raises `ArchiveDamaged`."""
        why = list[str]()
        for place in self.places:
            try:
                with place.open(manifest.key) as file:
                    sha = hashlib.sha256()
                    while chunk := file.read(1 << 20):
                        sha.update(chunk)
                if sha.hexdigest() == manifest.sha256:
                    return place
                why.append(f"{place.name} has other bytes than were written")
            except (StorageError, OSError) as error:
                why.append(f"{place.name}: {error}")
        raise ArchiveDamaged(f"no copy of {manifest.key} can be read: {'; '.join(why)}")

    def mend(self, manifest: Manifest) -> list[str]:
        """Read an archive back in every place and make a bad copy anew from a whole one.

        Returns the places that were mended; raises `ArchiveDamaged` when no copy is whole, and
        `StorageError` or `OSError` when one cannot be mended.
        """
        wrong = self.troubles(manifest)
        whole = [place for place, why in wrong if not why]
        bad = [place for place, why in wrong if why]
        if not whole:
            raise ArchiveDamaged(f"no copy is whole: {wrong[-1][1]}")
        for place in bad:
            if place is self.first:
                with whole[0].open(manifest.key) as source, self.first.writing(manifest.key) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                self.verify(manifest)
            else:
                copy_object(self.first, place, manifest.key, size=manifest.size, sha256=manifest.sha256)
        if bad:
            self.spread(manifest, lambda step: None)
        return [place.name for place in bad]

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the places that have not the archive in full size: nothing is deleted then."""
        return [place.name for place in self.places if place.size(manifest.key) != manifest.size]

    def forget(self, manifest: Manifest) -> None:
        """Remove an archive whose time is over: the manifest first."""
        for key in (f"archive/{manifest.table}/{manifest.unit}.manifest.json", manifest.key):
            for place in self.places:
                place.delete(key)


class Lines:
    """Counts and hashes the lines that go by."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.count = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    def take(self, rows: list[tuple[str, datetime | None]]) -> bytes:
        """Return the lines of some rows as bytes."""
        data = "".join(f"{line}\n" for line, _ in rows).encode()
        self.sha.update(data)
        self.count += len(rows)
        times = [at for _, at in rows if at is not None]
        if times:
            self.first = min([*times, *([self.first] if self.first else [])])
            self.last = max([*times, *([self.last] if self.last else [])])
        return data


class _FromTask:
    """A reader in a thread of what a trio task sends."""

    def __init__(self, channel: trio.MemoryReceiveChannel[bytes]) -> None:
        self._channel = channel
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        while not len(self._rest):
            try:
                self._rest = memoryview(trio.from_thread.run(self._channel.receive))
            except trio.EndOfChannel:
                return b""
        size = len(self._rest) if size < 0 else size
        given, self._rest = self._rest[:size], self._rest[size:]
        return bytes(given)


@contextmanager
def unwrap_one() -> Iterator[None]:
    """Raise the only exception of a group by itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def _create(place: Place, key: str, raw: bytes) -> None:
    try:
        place.create(key, raw)
    except FileExistsError:
        if read_object(place, key) != raw:
            raise ArchiveDamaged(f"{key} in {place.name} is the manifest of another archive") from None


@asynccontextmanager
async def lots(archive: Archive, manifest: Manifest) -> AsyncIterator[trio.MemoryReceiveChannel[list[str]]]:
    """Give an archive's lines in lots while a thread reads it, from the first place that has it whole.

    Raises `ArchiveDamaged`: at once when no place has it, else at the block's end.
    """
    place = await trio.to_thread.run_sync(archive.whole_copy, manifest)
    send, receive = trio.open_memory_channel[list[str]](_WAITING_BATCHES)

    async def read() -> None:
        async with send:
            await trio.to_thread.run_sync(
                lambda: archive.scan(manifest, lambda lot: trio.from_thread.run(send.send, lot), place)
            )

    with unwrap_one():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async with receive:
                yield receive
