"""The embedded PostgreSQL as the daemon sees it: started, watched, restarted, stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

import structlog
import trio

from ...errors import ConfigError, EmbeddedPostgresError
from . import cluster, lock, settings, sockets
from .binaries import Binaries, find_binaries
from .confinement import Confinement, choose_confinement
from .layout import Layout
from .postmaster import Postmaster, prepare

Role = Literal["app", "owner", "backup", "superuser"]

STOP_SECONDS = 20.0
_LONGEST_BACKOFF_SECONDS = 30.0
_FIRST_BACKOFF_SECONDS = 0.2
_STEADY_SECONDS = 60.0  # a server that ran this long is restarted without a wait


class EmbeddedPostgres:
    """A PostgreSQL of the daemon's own, under its state folder.

    Args:
        state_dir: the daemon's state folder; everything lies in its `postgres` folder.
        bin_dir: the folder with PostgreSQL's programs; None finds them.
        log: where starts, deaths and restarts are told.
        settings: PostgreSQL settings that replace our defaults; those that would make a commit less than
            on disk, or open the server to others, are refused.
        run_as: whom root becomes for the server where user namespaces are forbidden.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        bin_dir: Path | None,
        log: structlog.stdlib.BoundLogger,
        settings: Mapping[str, str] | None = None,
        run_as: str | None = None,
    ) -> None:
        self._layout = Layout(state_dir.resolve())
        self._bin_dir = bin_dir
        self._log = log
        self._overrides = dict(settings or {})
        self._run_as = run_as

    @asynccontextmanager
    async def running(
        self, nursery: trio.Nursery, *, stop_seconds: float = STOP_SECONDS
    ) -> AsyncIterator[Server]:
        """Run the server for the length of the block; it answers when the block begins.

        `nursery` carries the watch that restarts a server which dies; a problem there is never raised into
        it. Leaving the block stops the server in order, `stop_seconds` at most, then at once.

        Raises:
            ConfigError: a setting or `bin_dir` cannot be taken.
            StateFolderInUse: another daemon works on the state folder.
            EmbeddedPostgresRefused: another try will not help (no programs, other major version …).
            EmbeddedPostgresError: it did not start this time (disk full …).
        """
        if wrong := settings.wrong(self._overrides):
            raise ConfigError(wrong)
        with ExitStack() as held:
            try:
                server = await self._open(held)
            except OSError as error:
                raise _trouble(self._layout, error) from error
            try:
                await server._start()
                await nursery.start(server._watch)
                yield server
            finally:
                with trio.CancelScope(shield=True):
                    await server._stop(stop_seconds)

    async def _open(self, held: ExitStack) -> Server:
        """Do everything that comes before the first start of the server."""
        layout = self._layout
        began = trio.current_time()
        layout.open_home()
        held.enter_context(lock.hold(layout.lock, layout.state_dir))
        confinement = await choose_confinement(self._run_as)
        binaries = await find_binaries(self._bin_dir, confinement)
        exists = await cluster.check_version(layout.data, binaries, confinement)
        layout.open_for(confinement)
        await cluster.clear_unfinished(layout, self._log)
        if not exists:
            await cluster.make(layout, binaries, confinement)
            seconds = round(trio.current_time() - began, 3)
            self._log.info("embedded_postgres_made", folder=str(layout.data), seconds=seconds)
        folder = sockets.socket_folder(layout.state_dir, layout.run, confinement)
        if folder != layout.run:
            self._log.info("embedded_postgres_socket_elsewhere", folder=str(folder), too_long=str(layout.run))
        return Server(layout, binaries, confinement, folder, self._overrides, self._log)


class Server:
    """A running embedded PostgreSQL. Made by `EmbeddedPostgres.running`."""

    def __init__(
        self,
        layout: Layout,
        binaries: Binaries,
        confinement: Confinement,
        socket_dir: Path,
        overrides: Mapping[str, str],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.binaries = binaries
        self.confinement = confinement
        self.socket_dir = socket_dir
        self._layout = layout
        self._overrides = overrides
        self._log = log
        self._postmaster: Postmaster | None = None
        self._death = "it has not been started"
        self._up = trio.Event()
        self._down = trio.Event()
        self._down.set()
        self._watching = trio.CancelScope()
        self._watch_ended = trio.Event()
        self._watch_ended.set()

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, as (18, 6)."""
        return self.binaries.version

    @property
    def bin_dir(self) -> Path:
        """The folder of the programs that fit this server: psql, pg_basebackup, pg_dump …"""
        return self.binaries.folder

    @property
    def data_dir(self) -> Path:
        """The server's data folder."""
        return self._layout.data

    @property
    def log_dir(self) -> Path:
        """The folder of the server's own log files."""
        return self._layout.logs

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is down."""
        return self._postmaster.pid if self._postmaster is not None and self.ready else None

    @property
    def ready(self) -> bool:
        """Whether the server is up, as far as anybody has noticed."""
        return self._up.is_set()

    @property
    def supports_incremental_backup(self) -> bool:
        """Whether incremental backups of this server restore every row."""
        return self.binaries.supports_incremental_backup

    def dsn(self, role: Role, database: str = "wharfd") -> str:
        """Return the URL to connect with as one of the four roles; it holds no secret."""
        user = settings.SUPERUSER if role == "superuser" else f"wharfd_{role}"
        where = urlencode({"host": str(self.socket_dir), "port": "5432"}, quote_via=quote)
        return f"postgresql://{user}@/{quote(database, safe='')}?{where}"

    async def wait_died(self) -> str:
        """Wait until the server is down, and say how it ended; returns at once while it is down.

        It is restarted by itself: `wait_ready` tells when it answers again.
        """
        await self._down.wait()
        return self._death

    async def wait_ready(self) -> None:
        """Wait until the server answers; returns at once while it does."""
        await self._up.wait()

    async def _start(self) -> None:
        began = trio.current_time()
        layout, log = self._layout, self._log
        try:
            await cluster.clear_the_way(layout, log)
            sockets.clear(self.socket_dir)
            await trio.to_thread.run_sync(
                cluster.configure, layout, self.binaries, self.confinement, self._overrides
            )
            self._postmaster = await Postmaster.start(
                layout, self.binaries, self.confinement, self.socket_dir
            )
        except OSError as error:
            raise _trouble(layout, error) from error
        await self._postmaster.wait_ready(log)
        await prepare(self.binaries, self.socket_dir, layout.data)
        self._down = trio.Event()
        self._up.set()
        log.info(
            "embedded_postgres_started",
            pid=self._postmaster.pid,
            version=".".join(map(str, self.version)),
            origin=self.binaries.origin,
            folder=str(layout.data),
            seconds=round(trio.current_time() - began, 3),
        )

    async def _watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Restart the server whenever it dies, until `_stop`."""
        self._watch_ended = trio.Event()
        try:
            with self._watching:
                task_status.started()
                backoff = 0.0
                while self._postmaster is not None:
                    began = trio.current_time()
                    self._death = await self._postmaster.wait()
                    self._fell(self._postmaster)
                    steady = trio.current_time() - began > _STEADY_SECONDS
                    backoff = await self._restart(0.0 if steady else backoff)
        finally:
            self._watch_ended.set()

    def _fell(self, postmaster: Postmaster) -> None:
        self._up = trio.Event()
        self._down.set()
        self._log.error("embedded_postgres_died", how=self._death, last_words=postmaster.last_words())

    async def _restart(self, backoff: float) -> float:
        """Start until it succeeds; return how long to wait should the server die again soon."""
        while True:
            await trio.sleep(backoff)
            backoff = min(max(backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
            try:
                await self._start()
            except EmbeddedPostgresError as error:
                if self._postmaster is not None:
                    await self._postmaster.stop(STOP_SECONDS, self._log)
                self._log.error(
                    "embedded_postgres_restart_failed", error=str(error), retry_in_seconds=backoff
                )
            else:
                return backoff

    async def _stop(self, seconds: float) -> None:
        self._watching.cancel()
        await self._watch_ended.wait()
        self._up = trio.Event()
        if self._postmaster is not None:
            began = trio.current_time()
            self._death = "it was stopped"
            await self._postmaster.stop(seconds, self._log)
            self._log.info("embedded_postgres_stopped", seconds=round(trio.current_time() - began, 3))
        self._down.set()


def _trouble(layout: Layout, error: OSError) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"PostgreSQL could not be started on {layout.data}: {error.strerror or error}"
        + (f" ({error.filename})" if error.filename else "")
    )
