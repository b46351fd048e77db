"""What a place for backups and archives can do, and how one is chosen in the configuration.

A place keeps objects under keys such as `backups/bkp_1.tar.zst.age`. Its methods block: call them in a
thread. An object is there whole and for good when `put` or `create` returns, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec

from ..config import option
from ..errors import StorageError
from ..secrets import Secret

if TYPE_CHECKING:
    from .folder import Folder

_CHUNK = 1 << 20


class Found(msgspec.Struct, frozen=True):
    """An object that is there."""

    key: str
    size: int


class Place(Protocol):
    """A folder or a bucket."""

    @property
    def name(self) -> str:
        """What people call it: the folder's path, or the bucket and its prefix."""
        ...

    def put(self, key: str, source: Path) -> None:
        """Keep a copy of the file under the key; what was there is replaced."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Keep a small object; raises `FileExistsError` when the key is taken."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises `FileNotFoundError`."""
        ...

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when it is not there."""
        ...

    def list(self, prefix: str) -> Iterator[Found]:
        """Give the objects whose key begins with the prefix, sorted by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        ...


@dataclass(frozen=True)
class PlaceSettings:
    """A place: `folder`, or `bucket` of an S3-compatible store."""

    folder: Path | None = option(None, help="a folder, best on another disk", example='"/mnt/backups"')
    bucket: str | None = option(None, help="a bucket of an S3-compatible store", example='"shop-backups"')
    prefix: str = option("", help="what keys in the bucket begin with")
    endpoint: str | None = option(None, help="URL of the store; none for AWS", example='"https://s3.example"')
    region: str = option("us-east-1", help="region of the bucket")
    access_key_id: Secret | None = option(
        None, help="key id; none for the machine's own role", example='{ credential = "s3_key_id" }'
    )
    secret_access_key: Secret | None = option(
        None, help="the key's secret", example='{ credential = "s3_secret" }'
    )

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.bucket is None):
            raise ValueError("folder: give folder or bucket, one of them")


def read_object(place: Place, key: str, *, limit: int = 64 << 20) -> bytes:
    """Return a small object whole; raises `StorageError` above `limit` bytes."""
    with place.open(key) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StorageError(f"{key} in {place.name} is larger than {limit} bytes")
    return bytes(data)


def digest(place: Place, key: str, heard: Callable[[int], None] = lambda size: None) -> tuple[int, str]:
    """Read an object back and return its size and SHA-256."""
    total, sha = 0, hashlib.sha256()
    with place.open(key) as file:
        while chunk := bytes(file.read(_CHUNK)):
            sha.update(chunk)
            total += len(chunk)
            heard(len(chunk))
    return total, sha.hexdigest()


def copy_object(source: Folder, target: Place, key: str, *, size: int, sha256: str) -> None:
    """Copy an object to another place and read it back there.

    One that is there already with the same bytes is left alone. Raises `StorageError` when what is read
    back differs.
    """
    expected = (size, sha256)
    if target.size(key) == size and digest(target, key) == expected:
        return
    target.put(key, source.path(key))
    if digest(target, key) != expected:
        raise StorageError(f"{key} in {target.name} is not what was written there; its disk fails")
