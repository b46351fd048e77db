"""The ledger executor beside plain asyncpg scripts, on one embedded PostgreSQL with its durable settings.

A daemon in a process of its own takes a batch as JSON Lines over HTTP and works it while progress is polled.
The scripts insert the same orders into a table with the ledger's columns and indexes, once with one order a
transaction and once with 1,000: they know no leases, retries, references, results or events.

    python bench/orders.py [--orders 100000] [--lines 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

TABLE = """CREATE SCHEMA IF NOT EXISTS plain; DROP TABLE IF EXISTS plain.orders; CREATE TABLE plain.orders (
    id text PRIMARY KEY, owner text NOT NULL, batch bigint NOT NULL, idx integer NOT NULL, client_ref text,
    account text, currency text NOT NULL, amount bigint NOT NULL, executor text NOT NULL, external_id text,
    payload jsonb NOT NULL, result jsonb, created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (batch, idx));
    CREATE UNIQUE INDEX ON plain.orders (owner, client_ref) WHERE client_ref IS NOT NULL;
    CREATE INDEX ON plain.orders (owner, id); CREATE INDEX ON plain.orders (owner, account, id)"""
INSERT = """INSERT INTO plain.orders (id, owner, batch, idx, client_ref, account, currency, amount, executor,
    payload) VALUES ($1, '', $2, $3, $4, $5, 'EUR', $6, 'plain', $7)"""


def order(n: int, kind: str) -> bytes:
    return (
        b'{"clientRef":"%s-%d","account":"ACC-%d","currency":"EUR","cartItems":[{"id":%d,"productId":"F%d",'
        b'"schemeName":"Growth Direct","transactionType":"purchase","amount":%d}],'
        b'"transactionMode":{"mode":"email","email":"someone@example.org"},"optOutOfNomination":false}\n'
    ) % (kind.encode(), n, n % 1000, n, n % 50, 1000 + n % 9000)


def pieces(count: int, kind: str) -> Iterator[bytes]:
    for start in range(0, count, 500):
        yield b"".join(order(n, kind) for n in range(start, min(count, start + 500)))


class Daemon:
    """A daemon on a state folder of its own."""

    def __init__(self, folder: Path, port: int, events: str) -> None:
        self.folder, self.port = folder, port
        config = folder / "wharfd.toml"
        config.write_text(
            f'[http]\nbind = "127.0.0.1:{port}"\n[ingest]\nbind = "127.0.0.1:{port + 1}"\n'
            f'[log]\nlevel = "warning"\n[plugins.orders]\norder_events = {events}\n'
        )
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "wharfd",
                "run",
                "--config",
                str(config),
                "--state-dir",
                str(folder / "state"),
            ]
        )
        for _ in range(600):
            try:
                if self.ask("GET", "/health/ready")[0] == 200:
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        self.token = (folder / "state" / "admin.token").read_text().strip()

    token = ""

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        connection.request(method, path, body=body, headers=headers, encode_chunked=body is not None)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None

    def upload(self, count: int, kind: str, query: str) -> tuple[float, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson",
                   "Transfer-Encoding": "chunked"}  # fmt: skip
        began = time.perf_counter()
        connection.request(
            "POST", f"/api/bulk-orders{query}", body=pieces(count, kind), headers=headers, encode_chunked=True
        )
        answer = connection.getresponse()
        data = json.loads(answer.read())
        assert answer.status in (200, 201), data
        return time.perf_counter() - began, data

    def rss(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Watch(threading.Thread):
    """Takes the highest RSS."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self.watched, self.peak, self.over = daemon, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.watched.rss())


def run_batch(daemon: Daemon, count: int, kind: str, label: str) -> None:
    seconds, view = daemon.upload(count, kind, "?paused=true")
    size = sum(len(piece) for piece in pieces(count, kind)) / 1e6
    print(f"{label}: {count:,} orders uploaded and stored in {seconds:.1f} s "
          f"({count / seconds:,.0f} rows/s, {size / seconds:.1f} MB/s)")  # fmt: skip
    batch = view["batchId"]
    daemon.ask("POST", f"/api/bulk-orders/{batch}/resume")
    began, polls = time.perf_counter(), []
    while True:
        asked = time.perf_counter()
        _, progress = daemon.ask("GET", f"/api/bulk-orders/{batch}/progress")
        polls.append(time.perf_counter() - asked)
        if progress["completedAt"]:
            break
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    assert progress["status"] == "completed", progress
    p95 = statistics.quantiles(polls, n=20)[-1] if len(polls) > 2 else max(polls)
    print(f"{label}: worked in {seconds:.1f} s = {count / seconds:,.0f} orders/s; "
          f"progress p50 {statistics.median(polls) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms")  # fmt: skip


async def plain(socket: str, single: int, many: int) -> None:
    connection = await asyncpg.connect(host=socket, user="wharfd_owner", database="wharfd")
    await connection.execute(TABLE)
    rows = [(f"ord_{n:026d}", 1, n, f"P-{n}", f"ACC-{n % 1000}", 1000 + n % 9000, order(n, "P").decode())
            for n in range(many)]  # fmt: skip
    began = time.perf_counter()
    for row in rows[:single]:
        async with connection.transaction():
            await connection.execute(INSERT, *row)
    seconds = time.perf_counter() - began
    print(f"plain script, one a transaction: {single / seconds:,.0f} orders/s")
    await connection.execute("TRUNCATE plain.orders")
    began = time.perf_counter()
    for start in range(0, many, 1000):
        async with connection.transaction():
            await connection.executemany(INSERT, rows[start : start + 1000])
    seconds = time.perf_counter() - began
    print(f"plain script, 1,000 a transaction: {many / seconds:,.0f} orders/s")
    await connection.execute("DROP SCHEMA plain CASCADE")
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument(
        "--lines", type=int, default=1_000_000, help="for the memory of an upload; 0: leave out"
    )
    parser.add_argument("--port", type=int, default=18470)
    parser.add_argument("--events", default='["updated", "completed", "failed"]')
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="wharfd-bench-", dir="/tmp") as folder:
        daemon = Daemon(Path(folder), arguments.port, arguments.events)
        try:
            asyncio.run(plain(str(Path(folder) / "state/postgres/run"), 3000, arguments.orders))
            run_batch(daemon, arguments.orders, "W", "wharfd")
            if arguments.lines:
                watch, before = Watch(daemon), daemon.rss()
                watch.start()
                seconds, _ = daemon.upload(arguments.lines, "M", "?validateOnly=true")
                watch.over.set()
                print(f"{arguments.lines:,} lines checked, loaded and rolled back in {seconds:.1f} s")
                print(f"RSS {before:.0f} MB before, {watch.peak:.0f} MB at most (+{watch.peak - before:.0f})")
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
