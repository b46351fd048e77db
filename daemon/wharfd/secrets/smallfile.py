"""Reads a small regular file without ever waiting for a pipe or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_small_file(path: Path, limit: int) -> tuple[bytes | None, int]:
    """Return at most `limit` + 1 bytes of the file, None if it is no regular file, and its mode.

    The mode is that of the file that was read, whatever happens to the name meanwhile. Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            return None, mode
        parts: list[bytes] = []
        wanted = limit + 1
        while wanted and (part := os.read(descriptor, wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts), mode
    finally:
        os.close(descriptor)
