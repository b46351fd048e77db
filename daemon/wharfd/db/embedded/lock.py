"""One daemon per state folder: a lock the kernel releases, however the daemon ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import StateFolderInUse


@contextmanager
def hold(path: Path, state_dir: Path) -> Iterator[None]:
    """Hold the lock file at `path` for the length of the block.

    The file stays behind and means nothing by itself; only the lock on it counts. Raises
    `StateFolderInUse`, with the pid of the one who holds it, when it is taken.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode(errors="replace").strip()
            raise StateFolderInUse(
                f"the state folder {state_dir} is in use by the wharfd with pid {pid or 'unknown'}; "
                "stop that one, or give this one a --state-dir of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
