"""Files that are on disk when we say so: written beside, fsynced, renamed, and the folder fsynced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder for us alone, and those above it, each on disk in the one above it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_folder(folder.parent)


def create(path: Path) -> BinaryIO:
    """Open a new file for writing, 0600; an earlier one of that name is thrown away."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, 0o600), "wb")


def settle(file: BinaryIO) -> None:
    """Put what was written to an open file on disk."""
    file.flush()
    os.fsync(file.fileno())


def publish(temporary: Path, path: Path, *, replace: bool = True) -> None:
    """Give a settled file its real name, for good when this returns.

    Raises `FileExistsError` when the name is taken and `replace` is false.
    """
    if replace:
        temporary.rename(path)
    else:
        os.link(temporary, path)  # unlike rename, it never replaces what is there
        temporary.unlink()
    sync_folder(path.parent)


def write_durably(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Put `data` at `path`, all of it or nothing, on disk when this returns."""
    temporary = path.with_name(f"{path.name}.tmp")
    with create(temporary) as file:
        file.write(data)
        settle(file)
    publish(temporary, path, replace=replace)
