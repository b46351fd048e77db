"""A real PostgreSQL for tests: one cluster per test session, one database per test.

The cluster runs without fsync (crash safety is tested elsewhere, on a cluster of its own), listens on a
Unix socket only and is gone after the session. Its programs are found, and made to run under root, as
those of the daemon's embedded PostgreSQL are.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest
import trio

from ..db.embedded import Binaries, Confinement, choose_confinement, find_binaries
from ..db.embedded.cluster import initdb_arguments
from .scratch import scratch

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum_naptime": "1min",
}


async def _programs() -> tuple[Confinement, Binaries]:
    confinement = await choose_confinement()
    return confinement, await find_binaries(None, confinement)


class Cluster:
    """A running PostgreSQL, `dsn(database)` to reach it; `settings` replace those of a test's server."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._settings = {**_SETTINGS, **settings}
        # A thread of its own: a session's fixture is made outside trio, another cluster perhaps inside.
        with ThreadPoolExecutor(1) as thread:
            self._confinement, self._binaries = thread.submit(trio.run, _programs).result()
        self.bin = self._binaries.folder
        self._process: subprocess.Popen[bytes] | None = None
        self._talk: subprocess.Popen[str] | None = None
        self._telling = Lock()

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        data = self.folder / "data"
        confined = self._confinement.options()
        self._confinement.give(self.folder)
        # Any role may be taken on by whoever gets into the folder, and that is this user alone.
        initdb = [*initdb_arguments(data, self._binaries.major), "--auth-local=trust", "--no-sync"]
        made = subprocess.run(
            self._confinement.command(self.bin / "initdb", *initdb),
            check=False,
            capture_output=True,
            text=True,
            **confined,
        )
        if made.returncode != 0:
            raise RuntimeError(f"PostgreSQL could not make a cluster:\n{made.stderr}")
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        postgres = ["-D", str(data), "-k", str(self.folder), *options]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._confinement.command(self.bin / "postgres", *postgres),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **confined,
            )
        ready = [str(self.bin / "pg_isready"), "-q", "-h", str(self.folder), "-t", "10"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")
        self.psql("postgres", "CREATE ROLE wharfd_owner LOGIN CREATEDB; CREATE ROLE wharfd_app LOGIN")

    def stop(self) -> None:
        """Stop the server at once."""
        if self._talk is not None:
            self._talk.communicate()
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # immediate shutdown, nothing is kept
            self._process.wait(30)

    def dsn(self, database: str, user: str = "wharfd_owner") -> str:
        """Where to connect."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def psql(self, database: str, statement: str) -> str:
        """Run SQL as superuser and return what psql prints."""
        return subprocess.run(
            [*self._psql_command(database), "-c", statement], check=True, capture_output=True, text=True
        ).stdout

    def tell(self, statement: str) -> None:
        """Run SQL as superuser over a psql that stays, which saves starting one for every test's database."""
        with self._telling:
            if self._talk is None:
                self._talk = subprocess.Popen(
                    self._psql_command("postgres"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            assert self._talk.stdin is not None
            assert self._talk.stdout is not None
            self._talk.stdin.write(f"{statement};\n\\echo done\n")
            self._talk.stdin.flush()
            said = ""
            while (line := self._talk.stdout.readline()) != "done\n":
                said += line
                if not line:  # psql ends with the first error
                    self._talk = None
                    raise RuntimeError(f"PostgreSQL refused {statement!r}: {said}")

    def _psql_command(self, database: str) -> list[str]:
        psql = [str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        return [*psql, "-h", str(self.folder), "-U", "postgres", "-d", database]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL cluster for the whole session."""
    folder = Path(tempfile.mkdtemp(prefix="wharfd-pg-", dir=scratch()))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
