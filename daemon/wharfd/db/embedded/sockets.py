"""The folder of the server's Unix socket: inside the state folder, or a short private one.

The kernel takes 107 bytes for a socket's path. A deep state folder therefore gets its socket elsewhere, in
a folder of ours that nobody else can have prepared for us.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from .confinement import Confinement

LONGEST_PATH = 107
SOCKET_NAME = ".s.PGSQL.5432"


def fits(folder: Path) -> bool:
    """Return whether a socket in this folder has a path the kernel takes."""
    return len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_PATH


def socket_folder(state_dir: Path, inside: Path, confinement: Confinement) -> Path:
    """Make the folder for the socket, mode 0700 and the server's, and return it.

    It is `inside` when the path is short enough; else `wharfd-<digest of the state folder>` in
    XDG_RUNTIME_DIR or the folder for temporary files; else, should somebody have put something under that
    name, a fresh one there.
    """
    if fits(inside):
        inside.mkdir(mode=0o700, exist_ok=True)
        inside.chmod(0o700)
        confinement.give(inside)
        return inside
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    parents = [Path(os.environ["XDG_RUNTIME_DIR"])] if os.environ.get("XDG_RUNTIME_DIR") else []
    for parent in [*parents, Path("/tmp")]:  # noqa: S108 - private, checked, see _own
        folder = parent / f"wharfd-{digest}"
        if fits(folder) and parent.is_dir() and confinement.first_closed(parent) is None:
            try:
                owned = _own(folder, confinement)
            except OSError:
                continue  # not writable for us: the next one
            return owned or _fresh(Path("/tmp"), confinement)  # noqa: S108
    return _fresh(Path(tempfile.gettempdir()), confinement)


def clear(folder: Path) -> None:
    """Remove a socket that no server listens on; call only while no server runs."""
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (folder / name).unlink(missing_ok=True)


def _own(folder: Path, confinement: Confinement) -> Path | None:
    """Make or take over the folder; None when what is there is not ours alone."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        facts = folder.lstat()  # not what a link points to
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid in (confinement.uid, os.geteuid())
        if not ours or stat.S_IMODE(facts.st_mode) != 0o700:
            return None
    confinement.give(folder)
    return folder


def _fresh(parent: Path, confinement: Confinement) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="wharfd-", dir=parent))
    confinement.give(folder)
    return folder
