"""Where the embedded PostgreSQL keeps its things under the state folder."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import EmbeddedPostgresError
from .confinement import Confinement

_MAKING = "making-"


@dataclass(frozen=True)
class Layout:
    """The paths of one embedded PostgreSQL.

    STATE_DIR/postgres/lock       who works here; the lock on it counts, not the file
    STATE_DIR/postgres/data/      the data folder
    STATE_DIR/postgres/making-…/  a data folder on its way; one that is left over is worthless
    STATE_DIR/postgres/run/       the socket, unless its path would be too long
    STATE_DIR/postgres/logs/      the server's log, a file per weekday, and what it says before that
    """

    state_dir: Path

    @property
    def home(self) -> Path:
        """The folder of everything here."""
        return self.state_dir / "postgres"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "data"

    @property
    def run(self) -> Path:
        """The folder for the socket, where its path is short enough."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """The folder of the server's log files."""
        return self.home / "logs"

    @property
    def first_words(self) -> Path:
        """What the server says until it opens its log."""
        return self.logs / "start.txt"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.home / "lock"

    def open_home(self) -> None:
        """Make the state folder and ours in it, readable for us alone; what exists keeps its mode."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.home, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(self.home))
        except OSError as error:
            raise EmbeddedPostgresError(
                f"the folder {self.home} cannot be used by user id {os.geteuid()}: {error.strerror}; run "
                "wharfd as the user who owns the state folder, or give it another --state-dir"
            ) from error

    def open_for(self, confinement: Confinement) -> None:
        """Make the folders the server writes to; raise when it cannot reach them.

        The modes of folders above `home` are never touched.
        """
        if confinement.switch:
            self.home.chmod(0o711)  # the server, another user, passes through to what is its own
        closed = confinement.first_closed(self.home)
        if closed is not None:
            raise EmbeddedPostgresError(
                f"the server would run as user id {confinement.uid}, and that may not enter {closed}; choose "
                "a --state-dir it can reach, or run wharfd as an ordinary user who owns the state folder"
            )
        self.logs.mkdir(mode=0o700, exist_ok=True)
        confinement.give(self.logs)

    def unfinished(self) -> list[Path]:
        """Return the data folders whose making was cut short."""
        return list(self.home.glob(f"{_MAKING}*"))

    def new_unfinished(self, confinement: Confinement) -> Path:
        """Make the folder in which a data folder is made, and return it."""
        folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=self.home))
        confinement.give(folder)
        return folder


def write_durably(path: Path, text: str, confinement: Confinement) -> None:
    """Put `text` at `path`, all of it or nothing, on disk when this returns; the server's own, 0600.

    A file that holds the text already is left alone. Whatever stands at `path` is replaced and never
    followed: the folder may belong to a user with fewer rights than ours.
    """
    new = path.with_name(f"{path.name}.wharfd-new")
    if not path.is_symlink() and path.is_file() and path.read_text(errors="replace") == text:
        return
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    confinement.give(new)
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
