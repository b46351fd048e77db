"""A PostgreSQL beside the real one, on restored files: its own folder, socket and settings.

Everything it is told stands in a file of ours; neither its data folder's settings nor the archive of the
server it comes from are touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio

from wharfd import WharfdError

from ..engine.programs import Programs

MARK = ".wharfd-scratch"
_LONGEST_SOCKET = 107
_SOCKET = ".s.PGSQL.5432"
_SOCKET_NOTE = "socket"
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
_LAST_COMMIT = "last completed transaction was at log time"
_POLL_SECONDS = 0.05


class ScratchFailed(WharfdError):
    """The restored server did not start, or did not get to where it was to go."""


class NotScratch(WharfdError):
    """A folder is not removed, because it is not one that was made for scratch."""


def make_folder(folder: Path, programs: Programs) -> None:
    """Make a scratch folder, marked as one; raises `NotScratch` when something lies there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotScratch(f"{folder} is not empty; a restore goes into a new folder or an empty one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    closed = programs.confinement.first_closed(folder.parent)
    if closed is not None:
        raise NotScratch(
            f"PostgreSQL would run as user id {programs.confinement.uid}, who may not enter {closed}"
        )
    (folder / MARK).touch(mode=0o600)
    programs.confinement.give(folder)


def remove_folder(folder: Path, root: Path) -> None:
    """Remove a scratch folder under `root`, and nothing else: raises `NotScratch`."""
    real, above = folder.resolve(), root.resolve()
    if folder.is_symlink() or real == above or above not in real.parents:
        raise NotScratch(f"{folder} is not inside {root}; it is not removed")
    if not (real / MARK).is_file():
        raise NotScratch(f"{folder} has no {MARK} in it; it is not removed")
    # The mark goes last: a removal that is cut short can be done again.
    for path in real.iterdir():
        if path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (real / MARK).unlink()
    real.rmdir()


class Scratch:
    """A server on `folder/data`. Make it, `start` it, ask it, `stop` it."""

    def __init__(self, folder: Path, programs: Programs, superuser: str, *, nice: int = 0) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self._programs = programs
        self.superuser = superuser
        self._nice = nice
        self.paused = False  # it was never promoted: nothing in it is worth an orderly end
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

    def dsn(self, database: str = "postgres") -> str:
        """Return where to connect."""
        return f"postgresql://{self.superuser}@/{database}?host={self._socket}&port=5432"

    @property
    def socket_folder(self) -> Path:
        """The folder of its socket."""
        assert self._socket is not None
        return self._socket

    async def start(self, settings: Mapping[str, str], *, recover: bool) -> None:
        """Start it; it may take long until it answers. `recover`: replay the log to the target given."""
        await self._prepare(settings, recover)
        command = ["-D", str(self.data), "-c", f"config_file={self.folder / 'scratch.conf'}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - starting is quick, its end is polled
                # `nice` only warns where a priority is refused: a drill comes later then, and does not fail.
                ["nice", "-n", str(self._nice)]
                + self._programs.confinement.command(self._programs.binaries.program("postgres"), *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data,
                **self._programs.confinement.options(),
            )
        (self.folder / "pid").write_text(str(self._process.pid))

    async def _prepare(self, settings: Mapping[str, str], recover: bool) -> None:
        if self._socket is None:
            self._socket = Path(tempfile.mkdtemp(prefix="wharfd-", dir=self._within_reach()))
            if len(os.fsencode(self._socket / _SOCKET)) > _LONGEST_SOCKET:
                self._socket.rmdir()
                raise ScratchFailed(
                    f"the path of a socket in {self._socket} would be too long; set TMPDIR to a shorter one"
                )
            self._programs.confinement.give(self._socket)
            (self.folder / _SOCKET_NOTE).write_text(str(self._socket))
        told = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "hba_file": str(self.folder / "hba.conf"),
            "ident_file": str(self.folder / "ident.conf"),
            "shared_buffers": "64MB",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_line_prefix": "%m ",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "archive_mode": "off",  # never into the archive of the server this one is a copy of
            "max_wal_size": "4GB",
            "autovacuum": "off",
            "hot_standby": "on",
            **await self._from_control(),
            **settings,
        }
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in told.items()]
        self._write(self.folder / "scratch.conf", "".join(lines))
        # Whoever gets through the folder of the socket, mode 0700, is this user.
        self._write(self.folder / "hba.conf", "local all all trust\n")
        self._write(self.folder / "ident.conf", "")
        auto = self.data / "postgresql.auto.conf"
        if auto.exists():
            auto.rename(self.folder / "postgresql.auto.conf.kept")  # it is read last and would have its way
            self._write(auto, "")
        signal_file = self.data / "recovery.signal"
        if recover:
            self._write(signal_file, "")
        for name in ("postmaster.pid", "standby.signal"):
            (self.data / name).unlink(missing_ok=True)
        self.data.chmod(0o700)
        self.log.touch()
        self._programs.confinement.give(self.log)

    def _within_reach(self) -> Path | None:
        """Return where its socket is to lie: systemd may show this process a /tmp that no one else can enter.

        None for the folder of temporary files, where there is no other or the server would not get into it.
        """
        name = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        if not os.access(name, os.W_OK) or self._programs.confinement.first_closed(Path(name)) is not None:
            return None
        return Path(name)

    async def _from_control(self) -> dict[str, str]:
        """Return the settings that a replaying server must have as high as the one that wrote the log."""
        text = await self._programs.confined("pg_controldata", "-D", str(self.data))
        pairs = (line.partition(":")[::2] for line in text.splitlines())
        return {_FROM_CONTROL[name]: value.strip() for name, value in pairs if name in _FROM_CONTROL}

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        self._programs.confinement.give(path)

    async def ask(self, statement: str, database: str = "postgres") -> list[list[str]]:
        """Run SQL as superuser and return the rows."""
        return await self._programs.rows(self.dsn(database), statement)

    async def wait_until(self, question: str, answer: str) -> None:
        """Wait until the server says `answer`; raises `ScratchFailed` with its last words when it ends."""
        while True:
            if self._process is None or self._process.poll() is not None:
                raise ScratchFailed(self._why())
            with_answer = await self._answer(question)
            if with_answer == answer:
                return
            await trio.sleep(_POLL_SECONDS)

    async def _answer(self, question: str) -> str | None:
        try:
            return (await self.ask(question))[0][0]
        except WharfdError:
            return None  # not up yet; its process tells when it never will be

    def _why(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() or ["it said nothing"]
        fatal = [line.split("FATAL:", 1)[1].strip() for line in lines if "FATAL:" in line]
        ours = "the database system is"  # told to us, who asked whether it is up
        why = next((text for text in fatal if not text.startswith(ours)), lines[-1])
        if "before configured recovery target was reached" not in why:
            return f"the restored server ended: {why}"
        commits = [line.split(_LAST_COMMIT, 1)[1].strip() for line in lines if _LAST_COMMIT in line]
        return (
            "the target lies behind the end of the archived log; the last commit in it was at "
            f"{commits[-1] if commits else 'an unknown time'}: restore to that time"
        )

    async def stop(self) -> None:
        """Stop it in order, and wait."""
        if self._process is not None and self._process.poll() is None:
            # A server that is paused in recovery looks up but once a second.
            self._process.send_signal(signal.SIGQUIT if self.paused else signal.SIGINT)
            with trio.CancelScope(shield=True):
                with trio.move_on_after(60):
                    await self._ended()
                if self._process.poll() is None:
                    self._process.send_signal(signal.SIGQUIT)
                    with trio.move_on_after(10):
                        await self._ended()
                if self._process.poll() is None:
                    self._process.kill()
                    self._process.wait()
        for name in ("pid", _SOCKET_NOTE):
            (self.folder / name).unlink(missing_ok=True)
        kept = self.folder / "postgresql.auto.conf.kept"
        if kept.exists():
            kept.replace(self.data / "postgresql.auto.conf")
        if self._socket is not None:
            shutil.rmtree(self._socket, ignore_errors=True)
            self._socket = None

    async def _ended(self) -> None:
        assert self._process is not None
        while self._process.poll() is None:  # noqa: ASYNC110 - a process tells by being asked
            await trio.sleep(_POLL_SECONDS)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def stop_left_over(folder: Path) -> bool:
    """Stop the server that a killed daemon left running on a scratch folder; return whether there was one.

    A process counts only while its working folder is the scratch one: numbers are given out again. The folder
    of its socket goes too.
    """
    data, found = folder / "data", False
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "cwd").samefile(data):
                continue
            os.kill(int(process.name), signal.SIGKILL)
            found = True
        except (OSError, ValueError):
            continue  # it ended meanwhile, or is somebody else's
    with contextlib.suppress(OSError):  # it is gone with the /tmp it lay in, or it is somebody else's by now
        socket = Path((folder / _SOCKET_NOTE).read_text())
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (socket / name).unlink(missing_ok=True)
        socket.rmdir()
    return found
