"""What the benches stand on: a PostgreSQL that keeps what it says, daemons as anybody runs them, receivers.

All of it is started here, in folders of its own, and gone afterwards. fsync is on: a figure without it says
nothing.
"""

from __future__ import annotations

import base64
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from wharfd.testing.postgres import Cluster

KEY = base64.b64encode(b"a key that only the bench knows!").decode()
NETBANX = f'[plugins.netbanx.sources.netbanx]\nkeys = ["{KEY}"]\n'
READY_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB", "max_wal_size": "4GB"}


def free_port() -> int:
    """Return a port that is free now, of those that no client is given for its own end."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def durable_postgres(*databases: str, **settings: str) -> Iterator[Cluster]:
    """Run a PostgreSQL with fsync on for as long as the block runs, with these databases."""
    with tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder:
        cluster = Cluster(Path(folder), **{**_DURABLE, **settings})
        try:
            cluster.start()
            for name in databases:
                make_database(cluster, name)
            yield cluster
        finally:
            cluster.stop()


def make_database(cluster: Cluster, name: str) -> None:
    """Make an empty database."""
    cluster.psql("postgres", f"CREATE DATABASE {name} OWNER wharfd_owner")


def query(cluster: Cluster, database: str, statement: str) -> str:
    """Return what a statement answers: a line for each row, | between its fields."""
    psql = [str(cluster.bin / "psql"), "-X", "-A", "-t", "-h", str(cluster.folder), "-U", "postgres"]
    command = [*psql, "-d", database, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def receiver(*command: str) -> Iterator[int]:
    """Run a Python script that prints the port it listens on; yield that port."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


class Daemon:
    """A daemon over a folder of its own, ready as soon as it is made.

    `toml` is its configuration beyond where it listens. It uses `database` of `cluster`, or runs a
    PostgreSQL of its own where there is no cluster. What it logs is in `log`.
    """

    def __init__(
        self, folder: Path, toml: str, cluster: Cluster | None = None, database: str = "served"
    ) -> None:
        self.state, self.log = folder / "state", folder / "wharfd.log"
        self.port, self.ingest = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.port}"
        text = f'[http]\nbind = "127.0.0.1:{self.port}"\n[ingest]\nbind = "127.0.0.1:{self.ingest}"\n'
        text += '[log]\nlevel = "warning"\n'
        if cluster is not None:
            app, owner = cluster.dsn(database, "wharfd_app"), cluster.dsn(database)
            text += f'[database]\nurl = "{app}"\nowner_url = "{owner}"\n'
        config = folder / "wharfd.toml"
        config.write_text(text + toml)
        command = [sys.executable, "-m", "wharfd", "run", "--config", str(config)]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--state-dir", str(self.state)], stdout=out, stderr=out
            )
        until = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the daemon does not become ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.api}/health/ready", timeout=5).close()
        except OSError:
            return False
        return True

    @property
    def token(self) -> str:
        """The administrator's token."""
        return (self.state / "admin.token").read_text().strip()

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """Ask its API as the administrator; POST where there is a body."""
        asked = urllib.request.Request(
            self.api + path,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return msgspec.json.decode(answer.read() or b"null")

    def settle(self, seconds: float = 180) -> None:
        """Wait until it has worked all the webhooks it has accepted."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            queue = self.ask("/api/webhooks/queue")["queue"]
            if not queue["waiting"] and not queue["active"]:
                return
            time.sleep(0.2)
        raise SystemExit(f"the daemon did not work its queue within {seconds:g} s")

    def cpu_seconds(self) -> float:
        """The CPU time it has used, without its children."""
        return cpu_seconds(self.process.pid)

    def memory_mib(self) -> float:
        """Its resident memory."""
        return memory_mib(self.process.pid)

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
