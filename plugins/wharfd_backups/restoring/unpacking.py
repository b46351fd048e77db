"""Fetching a backup's data out of a place into a folder, verified byte by byte before anything uses it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wharfd import Confinement, Place, Secret, StorageError, WharfdError, unpack

from ..engine.tarfeed import BrokenStream, Collector, Hasher, Sink, TarFeed, clean
from ..model.catalogue import Entry, Part
from ..model.manifest import (
    NAME,
    BadManifest,
    FileFacts,
    Manifest,
    decode_sums,
    differences,
    read_manifest,
)

Passed = Callable[[int], None]


class Damaged(WharfdError):
    """A backup is not what was put into its place; restore another one, or from the other place."""


def fetch(
    place: Place,
    part: Part,
    write: Callable[[bytes], object],
    identity: Secret | None,
    passed: Passed = lambda size: None,
) -> None:
    """Give an object's plain bytes to `write`; raises `Damaged` unless it is bit for bit what was written."""

    def take(data: bytes) -> None:
        write(data)
        passed(len(data))

    try:
        if (size := place.size(part.key)) != part.bytes:
            have = "is missing" if size is None else f"has {size} bytes instead of {part.bytes}"
            raise Damaged(f"{part.key} in {place.name} {have}")
        with place.open(part.key) as file:
            seen = unpack(file, take, identity, name=part.key)
    except StorageError as error:
        raise Damaged(f"in {place.name}: {error}") from None
    except FileNotFoundError:
        raise Damaged(f"{part.key} is not in {place.name}") from None
    if (seen.bytes_out, seen.sha256) != (part.bytes, part.sha256):
        raise Damaged(f"{part.key} in {place.name} is not what the catalogue says: its SHA-256 differs")


class Extraction:
    """Takes the tar stream of a base backup and makes its files, noting what they hold."""

    def __init__(self, root: Path | None, confinement: Confinement | None) -> None:
        self.seen: dict[str, FileFacts] = {}
        self.manifest = bytearray()
        self._root, self._confinement = root, confinement
        self._open: BinaryIO | None = None
        self._feed = TarFeed(self._begin)
        self.feed = self._feed.feed

    def close(self) -> None:
        """Close the file that was being written when something went wrong."""
        if self._open is not None:
            self._open.close()

    def finish(self, sums: bytes | None) -> Manifest:
        """Compare with the manifest, and `sums` beside it, and return it; raises `Damaged`."""
        try:
            self._feed.finish()
            ours = None if sums is None else decode_sums(sums)
            manifest = read_manifest(bytes(self.manifest), ours)
        except (BrokenStream, BadManifest) as error:
            raise Damaged(f"the base backup is not whole: {error}") from None
        if wrong := differences(manifest, self.seen):
            raise Damaged(f"the base backup is not its own manifest: {'; '.join(wrong)}")
        return manifest

    def _begin(self, member: tarfile.TarInfo) -> Sink | None:
        path = clean(member.name)
        if member.issym():
            raise BrokenStream(f"the backup holds the link {path}; tablespaces cannot be restored")
        if member.isdir():
            if self._root is not None and path:
                self._folder(self._root / path)
            return None
        if path == NAME:
            return Collector(self.manifest)
        return Hasher(self.seen, path, None if self._root is None else self._file(self._root / path))

    def _folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._confinement is not None:
            self._confinement.give(path)

    def _file(self, path: Path) -> BinaryIO:
        if not path.parent.is_dir():
            self._folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = open(os.open(path, flags, 0o600), "wb")  # noqa: SIM115 - closed by the feed at its end
        self._open = file
        if self._confinement is not None:
            self._confinement.give(path)
        return file


def extract_base(
    place: Place,
    entry: Entry,
    root: Path | None,
    identity: Secret | None,
    confinement: Confinement | None = None,
    passed: Passed = lambda size: None,
) -> Manifest:
    """Fetch a base backup and make its files under `root`, or nowhere: then it is only verified."""
    extraction = Extraction(root, confinement)
    sums = bytearray() if entry.has("sums") else None
    if sums is not None:
        fetch(place, entry.part("sums"), sums.extend, identity)
    try:
        fetch(place, entry.part("base"), extraction.feed, identity, passed)
    except BrokenStream as error:
        raise Damaged(f"the base backup {entry.id} in {place.name}: {error}") from None
    finally:
        extraction.close()
    return extraction.finish(None if sums is None else bytes(sums))


def extract_dump(
    place: Place,
    entry: Entry,
    target: Path | None,
    identity: Secret | None,
    passed: Passed = lambda size: None,
) -> None:
    """Fetch a logical dump into a file, or nowhere: then it is only verified."""
    if target is None:
        fetch(place, entry.part("dump"), lambda data: None, identity, passed)
        return
    with target.open("wb") as file:
        fetch(place, entry.part("dump"), file.write, identity, passed)


def verify(place: Place, entry: Entry, identity: Secret | None, passed: Passed = lambda size: None) -> None:
    """Read a whole backup back, decode it and compare every file; raises `Damaged`."""
    for part in entry.parts:
        if part.kind == "base":
            extract_base(place, entry, None, identity, passed=passed)
        else:
            fetch(place, part, lambda data: None, identity, passed)
