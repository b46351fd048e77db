"""PostgreSQL's backup manifest: what is in a base backup, and whether what is there is that.

Our own reader, so that a check needs no program of PostgreSQL, and can be made while the backup streams by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from .wal import lsn_of

NAME = "backup_manifest"
_MARK = b'"Manifest-Checksum"'
# Not in a manifest: the manifest itself, the write-ahead log (checked by its own names and checksums).
_OUTSIDE = ("pg_wal/",)
_ALGORITHMS = {"SHA224", "SHA256", "SHA384", "SHA512"}
_OURS = "NONE"  # the server has listed its files with their sizes, and we have hashed them on the way


class BadManifest(ValueError):
    """The manifest cannot be believed."""


class FileFacts(msgspec.Struct, frozen=True):
    """A file's size and checksum, as hex."""

    size: int
    checksum: str


class WalRange(msgspec.Struct, frozen=True):
    """The write-ahead log a backup needs to be consistent."""

    timeline: int
    start: int
    end: int


class Manifest(msgspec.Struct, frozen=True):
    """What a manifest says."""

    files: dict[str, FileFacts]
    ranges: tuple[WalRange, ...]
    algorithm: str
    system: str | None

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(facts.size for facts in self.files.values())


def _path(entry: Mapping[str, Any]) -> str:
    if "Path" in entry:
        return str(entry["Path"])
    return bytes.fromhex(entry["Encoded-Path"]).decode("utf-8", "surrogateescape")


def read_manifest(raw: bytes, ours: Mapping[str, FileFacts] | None = None) -> Manifest:
    """Return the manifest; raises `BadManifest` when it was changed or is not one with checksums.

    `ours` has the checksums of one that the server made without.
    """
    start = raw.rfind(_MARK)
    if start < 0:
        raise BadManifest("the manifest has no checksum of its own; it ends too early")
    # The checksum covers every byte before its own line.
    line = raw.rfind(b"\n", 0, start) + 1
    try:
        document = msgspec.json.decode(raw)
        stated = document["Manifest-Checksum"]
        if hashlib.sha256(raw[:line]).hexdigest() != stated:
            raise BadManifest("the manifest was changed: its checksum does not fit")
        files: dict[str, FileFacts] = {}
        algorithms = set()
        for entry in document["Files"]:
            path = _path(entry)
            if path in files:
                raise BadManifest(f"the manifest lists {path} twice")
            algorithm = entry.get("Checksum-Algorithm", _OURS)
            algorithms.add(algorithm)
            files[path] = FileFacts(int(entry["Size"]), _sum_of(entry, algorithm, path, ours))
        ranges = tuple(
            WalRange(int(r["Timeline"]), lsn_of(r["Start-LSN"]), lsn_of(r["End-LSN"]))
            for r in document["WAL-Ranges"]
        )
    except BadManifest:
        raise
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadManifest(f"the manifest cannot be read: {type(error).__name__}") from None
    if len(algorithms) != 1 or not algorithms <= (_ALGORITHMS if ours is None else {_OURS}):
        raise BadManifest(f"the manifest's checksums are {sorted(algorithms)}; make it with SHA256")
    if not ranges:
        raise BadManifest("the manifest names no write-ahead log")
    system = document.get("System-Identifier")
    return Manifest(files, ranges, algorithms.pop(), None if system is None else str(system))


def _sum_of(entry: Mapping[str, Any], algorithm: str, path: str, ours: Mapping[str, FileFacts] | None) -> str:
    if algorithm != _OURS:
        return str(entry["Checksum"])
    return "" if ours is None or path not in ours else ours[path].checksum


def encode_sums(seen: Mapping[str, FileFacts]) -> bytes:
    """Return the sizes and checksums of files, to be kept beside them."""
    return msgspec.json.encode(seen)


def decode_sums(raw: bytes) -> dict[str, FileFacts]:
    """Return what `encode_sums` was given; raises `BadManifest`."""
    try:
        return msgspec.json.decode(raw, type=dict[str, FileFacts])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadManifest("the checksums beside the backup cannot be read") from None


def differences(manifest: Manifest, seen: Mapping[str, FileFacts], *, limit: int = 20) -> list[str]:
    """Return in words how the files that are there differ from the manifest; empty means well."""
    found = []
    for path, facts in manifest.files.items():
        if path not in seen:
            found.append(f"{path} is missing")
        elif seen[path].size != facts.size:
            found.append(f"{path} has {seen[path].size} bytes instead of {facts.size}")
        elif seen[path].checksum != facts.checksum:
            found.append(f"{path} has other bytes than it had: its checksum does not fit")
    for path in seen:
        if path not in manifest.files and path != NAME and not path.startswith(_OUTSIDE):
            found.append(f"{path} is there and not in the manifest")
    more = len(found) - limit
    return found if more <= 0 else [*found[:limit], f"and {more} more"]
