"""One run of the server: start it, wait until it answers, stop it. Restarting it is `server`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import structlog
import trio

from . import settings
from .binaries import Binaries
from .confinement import Confinement, environment
from .failure import failure, last_lines, newest
from .layout import Layout
from .processes import wait_all_gone, working_in

_POLL_SECONDS = 0.004
_RECOVERY_NEWS_SECONDS = 5.0
_QUIT_SECONDS = 5.0
_PREPARE = Path(__file__).with_name("prepare.sql")


class Postmaster:
    """A server process on the data folder."""

    def __init__(self, layout: Layout, process: trio.Process, since: float) -> None:
        self._layout = layout
        self._process = process
        self._since = since

    @classmethod
    async def start(
        cls, layout: Layout, binaries: Binaries, confinement: Confinement, sockets: Path
    ) -> Postmaster:
        """Start the server; it does not answer yet."""
        since = time.time()
        command = confinement.command(
            binaries.program("postgres"), "-D", str(layout.data), *settings.laws(sockets)
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        words = os.open(layout.first_words, flags, 0o600)
        try:
            confinement.give(layout.first_words)
            with trio.CancelScope(shield=True):  # a server that is started is a server we know of
                process = await trio.lowlevel.open_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    cwd=layout.data,
                    **confinement.options(),
                )
        except OSError as error:
            raise failure("PostgreSQL could not be started", layout.data, [str(error)]) from error
        finally:
            os.close(words)
        return cls(layout, process, since)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    async def wait_ready(self, log: structlog.stdlib.BoundLogger) -> None:
        """Wait until the server takes connections, through crash recovery too, however long that takes.

        Raises `EmbeddedPostgresError`, with the end of the log, when it ends before.
        """
        news = trio.current_time() + _RECOVERY_NEWS_SECONDS
        while self._state() != "ready":
            if self._process.poll() is not None:
                raise failure("PostgreSQL did not start", self._layout.data, self.last_words())
            if trio.current_time() > news:
                log.info("embedded_postgres_recovering", pid=self.pid, last_words=self.last_words()[-1:])
                news += _RECOVERY_NEWS_SECONDS
            await trio.sleep(_POLL_SECONDS)

    def _state(self) -> str:
        """Return what the server says of itself in the eighth line of its pid file, as pg_ctl reads it."""
        try:
            lines = (self._layout.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return ""
        return lines[7].strip() if len(lines) > 7 and lines[0].strip() == str(self.pid) else ""

    async def wait(self) -> str:
        """Wait until the server has ended, and say how."""
        code = await self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    async def stop(self, patience: float, log: structlog.stdlib.BoundLogger) -> None:
        """End the server in order; after `patience` seconds at once, which costs a recovery later.

        Cancellation: shielded, and bounded by `patience` and fifteen seconds.
        """
        with trio.CancelScope(shield=True):
            for number, seconds in (
                (signal.SIGINT, patience),
                (signal.SIGQUIT, _QUIT_SECONDS),
                (signal.SIGKILL, _QUIT_SECONDS),
            ):
                self._process.send_signal(number)
                with trio.move_on_after(seconds):
                    await self._process.wait()
                    break
                log.warning("embedded_postgres_stop_slow", sent=number.name, seconds=seconds)
            # The writer of the log ends last, a moment after the server.
            with working_in(self._layout.data) as processes:
                left = await wait_all_gone(processes, _QUIT_SECONDS)
            if left:
                log.warning("embedded_postgres_processes_left", pids=[process.pid for process in left])

    def last_words(self) -> list[str]:
        """Return the end of what this run has written to its log."""
        recent = newest(self._layout.logs, self._since - 1)
        return last_lines(self._layout.first_words) + (last_lines(recent) if recent else [])


async def prepare(binaries: Binaries, sockets: Path, data: Path) -> None:
    """Make the roles, the database and their rights, where they are not there yet."""
    done = await trio.run_process(
        [
            *(str(binaries.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(_PREPARE)),
            *("-h", str(sockets), "-p", "5432", "-U", settings.SUPERUSER, "-d", "postgres"),
        ],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        env=environment() | {"PGOPTIONS": "-c client_min_messages=warning"},
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").splitlines()
        raise failure("PostgreSQL runs, but its roles and database could not be made", data, words)
