"""The state folder: everything wharfd keeps on this machine lies in it, and one daemon at a time owns it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StateFolderError

_CONFIG_NOTE = "config.path"


class StateFolder:
    """A state folder that this process owns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def admin_token(self) -> Path:
        """The file with the admin token."""
        return self.path / "admin.token"

    @property
    def master_key(self) -> Path:
        """The file with the key that seals secrets, unless `[secrets] key` names another."""
        return self.path / "master.key"

    @property
    def spool(self) -> Path:
        """The folder of accepted webhooks that are not in PostgreSQL yet."""
        return self.path / "spool"

    def note_config(self, path: Path | None) -> None:
        """Note which configuration the daemon runs on, so that `wharfd` finds it; see `known_config`."""
        note = self.path / _CONFIG_NOTE
        if path is None:
            note.unlink(missing_ok=True)
        else:
            note.write_text(f"{path.absolute()}\n", encoding="utf-8")

    def of_plugin(self, name: str) -> Path:
        """Return a folder for one plugin alone; it is made when it is not there."""
        folder = self.path / "plugins" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def known_config(path: Path) -> Path | None:
    """Return the configuration of the daemon that last ran on a state folder.

    None where there is none to trust: it may name code to load, so the note of another user is not followed.
    """
    note = path / _CONFIG_NOTE
    try:
        if note.stat().st_uid != os.geteuid():
            return None
        found = Path(note.read_text(encoding="utf-8").rstrip("\n"))
    except (OSError, UnicodeDecodeError):
        return None
    return found if found.is_file() else None


@contextmanager
def own_state_folder(path: Path) -> Iterator[StateFolder]:
    """Make the folder if need be, and own it for as long as the block runs.

    Raises `StateFolderError` when it cannot be written or another wharfd owns it. The kernel gives the lock
    back when this process dies, however it dies.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateFolderError(
            f"the state folder {path} cannot be written ({error.strerror}); "
            f"give it to user {os.geteuid()} or name another with --state-dir"
        ) from None
    try:
        _lock(lock, path)
        yield StateFolder(path)
    finally:
        os.close(lock)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StateFolderError(
            f"another wharfd (process {owner}) runs on the state folder {path}; "
            "stop it, or give this one a folder of its own with --state-dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
