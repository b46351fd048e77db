"""A place that is a folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError
from .disk import create, make_folder, publish, settle
from .place import Found

_TEMPORARY = ".tmp"
_WAYS_OUT = {
    errno.EROFS: "a systemd unit writes where ReadWritePaths= says, into folders that are there",
    errno.EACCES: "give it to user id {uid}",
    errno.EPERM: "give it to user id {uid}",
}


class Folder:
    """Keeps objects as files. An unfinished one ends in `.tmp` and is never listed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self.root)

    def path(self, key: str) -> Path:
        """Return where an object lies; raises `StorageError` for a key that leads elsewhere."""
        parts = key.split("/")
        if not all(parts) or any(part in (".", "..") or "\0" in part for part in parts):
            raise StorageError(f"{key!r} is no key of an object")
        return self.root.joinpath(*parts)

    @contextmanager
    def writing(self, key: str, *, replace: bool = True) -> Iterator[BinaryIO]:
        """Write an object: on disk and under its name when the block ends well, not there otherwise."""
        path = self.path(key)
        temporary = path.with_name(path.name + _TEMPORARY)
        with self._refused():
            make_folder(path.parent)
            created = create(temporary)
        try:
            with created as file:
                yield file
                settle(file)
            publish(temporary, path, replace=replace)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _WAYS_OUT:
                raise
            way_out = _WAYS_OUT[error.errno].format(uid=os.geteuid())
            raise StorageError(f"{self.name} cannot be written ({error.strerror}); {way_out}") from None

    def put(self, key: str, source: Path) -> None:
        """Keep a copy of the file under the key."""
        with source.open("rb") as reading, self.writing(key) as file:
            shutil.copyfileobj(reading, file, 1 << 20)

    def create(self, key: str, data: bytes) -> None:
        """Keep a small object; raises `FileExistsError` when the key is taken."""
        with self.writing(key, replace=False) as file:
            file.write(data)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises `FileNotFoundError`."""
        return self.path(key).open("rb")

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when it is not there."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[Found]:
        """Give the objects whose key begins with the prefix, sorted by key."""
        above = self.root / prefix.rpartition("/")[0]
        found = []
        for path in above.rglob("*"):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not key.endswith(_TEMPORARY) and path.is_file():
                found.append(Found(key, path.stat().st_size))
        yield from sorted(found, key=lambda one: one.key)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        self.path(key).unlink(missing_ok=True)

    def sweep(self, prefix: str = "") -> Sequence[str]:
        """Remove what unfinished writes have left behind; call only while nobody writes there."""
        above = self.root / prefix
        left = [path for path in above.rglob(f"*{_TEMPORARY}") if path.is_file()]
        for path in left:
            path.unlink(missing_ok=True)
        return [path.relative_to(self.root).as_posix() for path in left]
