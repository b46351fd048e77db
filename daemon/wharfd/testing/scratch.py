"""Where tests put what they throw away: in memory, where the machine has room for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30  # the databases of a session and what its daemons write stay far below


def scratch() -> str | None:
    """Return the folder for temporary files: in memory, unless `TMPDIR` says where or it could get full.

    A test's database is a few hundred files. Making and removing them takes a disk six times as long.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ENOUGH:
        return None
    return str(_MEMORY)
