"""Reading a tar stream as it passes by, piece by piece, without holding or seeking it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from typing import Protocol

from ..model.manifest import NAME, FileFacts

_BLOCK = 512


class BrokenStream(Exception):
    """The stream is no tar archive, or ends too early."""


class Sink(Protocol):
    """Takes the bytes of one file."""

    def write(self, data: bytes, /) -> object:
        """Take a piece."""
        ...

    def close(self) -> None:
        """Hear that the file is complete."""
        ...


class TarFeed:
    """Takes a tar archive in pieces and tells of each member; `begin` returns where its bytes go."""

    def __init__(self, begin: Callable[[tarfile.TarInfo], Sink | None]) -> None:
        self._begin = begin
        self._rest = bytearray()
        self._left = 0
        self._padding = 0
        self._sink: Sink | None = None
        self._empty_blocks = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece; raises `BrokenStream` for what is no tar."""
        view = memoryview(data)
        while len(view):
            if self._left:
                taken, view = view[: self._left], view[self._left :]
                self._left -= len(taken)
                if self._sink is not None:
                    self._sink.write(bytes(taken))
                if not self._left:
                    self._end()
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                missing = _BLOCK - len(self._rest)
                self._rest += view[:missing]
                view = view[missing:]
                if len(self._rest) == _BLOCK:
                    header, self._rest = bytes(self._rest), bytearray()
                    self._header(header)

    def finish(self) -> None:
        """Hear that the stream ended; raises `BrokenStream` unless the archive did too."""
        if self._left or self._padding or self._rest or not self._empty_blocks:
            raise BrokenStream("the tar stream ends too early")

    def _header(self, header: bytes) -> None:
        if header == bytes(_BLOCK):
            self._empty_blocks += 1
            return
        if self._empty_blocks:
            raise BrokenStream("the tar stream goes on behind its end")
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BrokenStream(f"the tar stream is damaged: {error}") from None
        if not (member.isfile() or member.isdir() or member.issym()):
            raise BrokenStream(f"the tar stream holds {member.name}, which is no file, folder or link")
        self._sink = self._begin(member)
        self._left = member.size if member.isfile() else 0
        self._padding = -self._left % _BLOCK
        if not self._left:
            self._end()

    def _end(self) -> None:
        if self._sink is not None:
            self._sink.close()
        self._sink = None


class Watcher:
    """Sees a base backup stream by and knows afterwards what was in it."""

    def __init__(self) -> None:
        self.seen: dict[str, FileFacts] = {}
        self.manifest = bytearray()
        self.links: list[str] = []
        self._feed = TarFeed(self._begin)
        self.feed = self._feed.feed
        self.finish = self._feed.finish

    def _begin(self, member: tarfile.TarInfo) -> Sink | None:
        path = clean(member.name)
        if member.issym():
            self.links.append(path)
        if not member.isfile():
            return None
        if path == NAME:
            return Collector(self.manifest)
        return Hasher(self.seen, path)


class Collector:
    """Keeps the bytes of one small file."""

    def __init__(self, into: bytearray) -> None:
        self._into = into

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        self._into += data

    def close(self) -> None:
        """Nothing more to do."""


class Hasher:
    """Notes size and SHA-256 of one file, and passes it on."""

    def __init__(self, seen: dict[str, FileFacts], path: str, target: Sink | None = None) -> None:
        self._seen, self._path, self._target = seen, path, target
        self._sha, self._size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self._sha.update(data)
        self._size += len(data)
        if self._target is not None:
            self._target.write(data)

    def close(self) -> None:
        """Note what was seen."""
        self._seen[self._path] = FileFacts(self._size, self._sha.hexdigest())
        if self._target is not None:
            self._target.close()


def clean(name: str) -> str:
    """Return a member's path; raises `BrokenStream` for one that leads out of the archive."""
    path = name.removeprefix("./").rstrip("/")
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BrokenStream(f"the tar stream holds {name!r}, which leads elsewhere")
    if path.rpartition("/")[2].startswith("INCREMENTAL."):
        raise BrokenStream(f"the tar stream is an incremental backup: {path} is a part of a file")
    return path
