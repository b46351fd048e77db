"""A real PostgreSQL for the matrix: fsync on, killed and started again as often as a scenario likes.

One cluster per run, one database per scenario. Its programs are found, and made to run under root, as those
of the daemon's embedded PostgreSQL are. It listens on a Unix socket in a folder of ours alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import trio

from wharfd.db.embedded import choose_confinement, find_binaries
from wharfd.db.embedded.cluster import initdb_arguments

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "5s",
}
_START_SECONDS = 60.0


class Server:
    """One PostgreSQL cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None

    async def create(self) -> None:
        """Make the cluster, start it and make the two roles."""
        self._confinement = await choose_confinement()
        binaries = await find_binaries(None, self._confinement)
        self._bin = binaries.folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._confinement.give(self.folder)
        arguments = [*initdb_arguments(self.folder / "data", binaries.major), "--auth-local=trust"]
        await trio.run_process(
            self._confinement.command(self._bin / "initdb", *arguments),
            capture_stdout=True,
            capture_stderr=True,
            **self._confinement.options(),
        )
        await self.start()
        await self.query("postgres", "CREATE ROLE wharfd_owner LOGIN CREATEDB")
        await self.query("postgres", "CREATE ROLE wharfd_app LOGIN")
        self.version = (await self.query("postgres", "SHOW server_version"))[0][0]

    @property
    def pid(self) -> int:
        """The postmaster's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the server and wait until it accepts; tries again while a killed one's children still end."""
        with trio.fail_after(_START_SECONDS):
            while not await self._start_once():
                await trio.sleep(0.1)

    async def _start_once(self) -> bool:
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        postgres = ["-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._confinement.command(self._bin / "postgres", *postgres),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._confinement.options(),
            )
        while self._process.poll() is None:
            try:
                await self.query("postgres", "SELECT 1")
                return True
            except subprocess.CalledProcessError:
                await trio.sleep(0.02)
        return False

    async def stop(self, how: str = "fast") -> None:
        """Stop the server: `fast` in order, `immediate` without a checkpoint, `kill` the postmaster."""
        assert self._process is not None
        signals = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
        self._process.send_signal(signals[how])
        await trio.to_thread.run_sync(self._process.wait, 60)

    async def make_standby(self, folder: Path) -> Server:
        """Make a standby that follows this server and has every commit before it is acknowledged."""
        standby = Server(folder)
        standby._confinement, standby._bin, standby.version = self._confinement, self._bin, self.version
        folder.mkdir(mode=0o700)
        self._confinement.give(folder)
        source = f"host={self.folder} user=postgres application_name=standby"
        await trio.run_process(
            self._confinement.command(
                self._bin / "pg_basebackup",
                *("-d", source, "-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast"),
            ),
            capture_stdout=True,
            capture_stderr=True,
            **self._confinement.options(),
        )
        await standby.start()
        await self.query("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        await self.query("postgres", "SELECT pg_reload_conf()")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        with trio.fail_after(_START_SECONDS):
            while await self.query("postgres", synchronous) != [["1"]]:
                await trio.sleep(0.05)
        return standby

    async def promote(self) -> None:
        """Make a standby the primary."""
        await self.query("postgres", "SELECT pg_promote()")

    async def make_database(self, name: str) -> None:
        """Make an empty database."""
        await self.query("postgres", f"CREATE DATABASE {name} OWNER wharfd_owner")

    async def query(self, database: str, statement: str) -> list[list[str]]:
        """Run SQL as superuser and return the rows as text; raises `CalledProcessError` when it fails."""
        done = await trio.run_process(
            [str(self._bin / "psql"), "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1"]
            + ["-h", str(self.folder), "-U", "postgres", "-d", database, "-c", statement],
            capture_stdout=True,
            capture_stderr=True,
            env={**os.environ, "PGCONNECT_TIMEOUT": "5"},
        )
        return [line.split("\x1f") for line in done.stdout.decode().splitlines()]

    async def backends(self, database: str) -> list[int]:
        """The processes that serve the daemons' connections to a database."""
        rows = await self.query(
            "postgres",
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND usename LIKE 'wharfd%'",
        )
        return [int(row[0]) for row in rows]

    def url(self, database: str, user: str = "wharfd_app", port: int | None = None) -> str:
        """Where a daemon connects: the Unix socket, or a proxy's port."""
        if port is not None:
            return f"postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable"
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def socket(self) -> str:
        """The path of the Unix socket, for a proxy."""
        return str(self.folder / ".s.PGSQL.5432")
