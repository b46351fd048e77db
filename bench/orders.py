"""Bulk orders beside plain asyncpg scripts, on one embedded PostgreSQL with its durable settings.

A daemon in a process of its own takes a batch as JSON Lines over HTTP and works it with the executor
`ledger` while its progress is polled. The scripts insert the same orders into a table with the ledger's
columns and indexes, once with one order a transaction and once with 1,000: they know no leases, retries,
references, results, counts or events. Each round runs all of them one after the other.

    python bench/orders.py [--orders 100000] [--rounds 3] [--lines 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import trio
from rig import Daemon

from wharfd_orders.config import Settings
from wharfd_orders.intake import read_upload
from wharfd_orders.spool import Spool

TABLE = """DROP SCHEMA IF EXISTS plain CASCADE; CREATE SCHEMA plain; CREATE TABLE plain.orders (
    id text PRIMARY KEY, owner text NOT NULL, batch bigint NOT NULL, idx integer NOT NULL, client_ref text,
    account text, currency text NOT NULL, amount bigint NOT NULL, executor text NOT NULL, external_id text,
    payload jsonb NOT NULL, result jsonb, created_at timestamptz NOT NULL DEFAULT now(), UNIQUE (batch, idx));
    CREATE UNIQUE INDEX ON plain.orders (owner, client_ref) WHERE client_ref IS NOT NULL;
    CREATE INDEX ON plain.orders (owner, id); CREATE INDEX ON plain.orders (owner, account, id)"""
INSERT = """INSERT INTO plain.orders (id, owner, batch, idx, client_ref, account, currency, amount, executor,
    payload) VALUES ($1, '', $2, $3, $4, $5, 'EUR', $6, 'plain', $7)"""
KINDS = {"jsonl": "application/x-ndjson", "json": "application/json", "csv": "text/csv"}
HEAD = (
    b"client_ref,account,currency,item_id,product_id,scheme_name,transaction_type,amount_minor,mode,email\n"
)


def order(n: int, kind: str) -> bytes:
    """Return an order as a line of JSON."""
    return (
        b'{"clientRef":"%s-%d","account":"ACC-%d","currency":"EUR","cartItems":[{"id":%d,"productId":"F%d",'
        b'"schemeName":"Growth Direct","transactionType":"purchase","amount":%d}],'
        b'"transactionMode":{"mode":"email","email":"someone@example.org"},"optOutOfNomination":false}\n'
    ) % (kind.encode(), n, n % 1000, n, n % 50, 1000 + n % 9000)


def row(n: int) -> bytes:
    """Return the same as a row of CSV."""
    return b"C-%d,ACC-%d,EUR,%d,F%d,Growth Direct,purchase,%d,email,someone@example.org\n" % (
        n, n % 1000, n, n % 50, 1000 + n % 9000,
    )  # fmt: skip


def pieces(count: int, kind: str) -> Iterator[bytes]:
    """Give so many orders as JSON Lines."""
    for start in range(0, count, 500):
        yield b"".join(order(n, kind) for n in range(start, min(count, start + 500)))


class Orders(Daemon):
    """A daemon with the orders plugin and a PostgreSQL of its own."""

    @property
    def socket(self) -> str:
        """The folder of PostgreSQL's socket."""
        return str(self.state / "postgres/run")

    def upload(self, file: Path, query: str) -> tuple[float, Any]:
        """Send a file of JSON Lines; return the seconds until it was answered, and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": KINDS["jsonl"],
            "Content-Length": str(file.stat().st_size),
        }
        began = time.perf_counter()
        with file.open("rb") as body:
            connection.request("POST", f"/api/bulk-orders{query}", body=body, headers=headers)
            answer = connection.getresponse()
            data = json.loads(answer.read())
        if answer.status not in (200, 201):
            raise SystemExit(f"the upload was answered {answer.status}: {data}")
        return time.perf_counter() - began, data


class Watch(threading.Thread):
    """Keeps the highest of something that is looked at again and again."""

    def __init__(self, look: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self._look, self.peak, self.over = look, 0.0, threading.Event()

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self._look())


def work(daemon: Orders, file: Path, count: int) -> tuple[float, float, list[float]]:
    """Upload a batch, poll its progress; return seconds to its 201, from there to its end, and per poll."""
    stored, view = daemon.upload(file, "")
    batch = view["batchId"]
    began, polls = time.perf_counter(), []
    while True:
        asked = time.perf_counter()
        progress = daemon.ask(f"/api/bulk-orders/{batch}/progress")
        polls.append(time.perf_counter() - asked)
        if progress["completedAt"]:
            break
        time.sleep(0.04)
    seconds = time.perf_counter() - began
    checked = daemon.ask(f"/api/bulk-orders/{batch}/verify")
    if (progress["status"], progress["succeeded"], checked["agrees"]) != ("completed", count, True):
        raise SystemExit(f"the batch ended {progress}, {checked}")
    return stored, seconds, polls


async def plain(folder: str, single: int, many: int) -> tuple[float, float]:
    """Return orders a second of the two scripts."""
    connection = await asyncpg.connect(host=folder, user="wharfd_owner", database="wharfd")
    await connection.execute(TABLE)
    rows = [(f"ord_{n:026d}", 1, n, f"P-{n}", f"ACC-{n % 1000}", 1000 + n % 9000, order(n, "P").decode())
            for n in range(many)]  # fmt: skip
    began = time.perf_counter()
    for values in rows[:single]:
        async with connection.transaction():
            await connection.execute(INSERT, *values)
    one = single / (time.perf_counter() - began)
    await connection.execute("TRUNCATE plain.orders")
    began = time.perf_counter()
    for start in range(0, many, 1000):
        async with connection.transaction():
            await connection.executemany(INSERT, rows[start : start + 1000])
    thousand = many / (time.perf_counter() - began)
    await connection.execute("DROP SCHEMA plain CASCADE")
    await connection.close()
    return one, thousand


def parse(folder: Path, count: int) -> None:
    """Print how fast uploads are read, judged and spooled, without HTTP and PostgreSQL."""
    bodies = {
        "jsonl": list(pieces(count, "J")),
        "json": [b"[", b",".join(order(n, "A")[:-1] for n in range(count)), b"]"],
        "csv": [HEAD, *(b"".join(map(row, range(start, start + 500))) for start in range(0, count, 500))],
    }

    async def read(kind: str, whole: bytes) -> int:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(whole), 65_536):
                yield whole[start : start + 65_536]

        spool = Spool(folder / "spool")
        upload = await read_upload(Settings(), spool, chunks(), content_type=KINDS[kind], query={})
        spool.close()
        return upload.accepted

    for kind, parts in bodies.items():
        whole = b"".join(parts)
        began = time.process_time()
        accepted = trio.run(read, kind, whole)
        seconds = time.process_time() - began
        assert accepted == count
        print(f"parse {kind:6}  {len(whole) / seconds / 1e6:6.1f} MB/s  {count / seconds:9,.0f} orders/s  "
              "of CPU time")  # fmt: skip


def write(path: Path, count: int, kind: str) -> Path:
    """Write a file of orders."""
    with path.open("wb") as file:
        for piece in pieces(count, kind):
            file.write(piece)
    return path


def middle(name: str, values: list[float], unit: str) -> None:
    """Print the median and the range of some figures."""
    print(f"{name:30} {statistics.median(values):9,.0f} {unit}  ({min(values):,.0f} to {max(values):,.0f})")


def compare(daemon: Orders, folder: Path, count: int, rounds: int) -> None:
    """Run the rounds and print them."""
    found: dict[str, list[float]] = {"one": [], "thousand": [], "worked": [], "whole": [], "stored": []}
    polls: list[float] = []
    for number in range(rounds):
        one, thousand = asyncio.run(plain(daemon.socket, 2000, count))
        file = write(folder / "orders.jsonl", count, f"W{number}")
        stored, seconds, asked = work(daemon, file, count)
        polls += asked
        figures = (one, thousand, count / seconds, count / (stored + seconds), count / stored)
        for kept, figure in zip(found.values(), figures, strict=True):
            kept.append(figure)
        print(f"round {number + 1}  one a transaction {one:,.0f}/s  1,000 a transaction {thousand:,.0f}/s  "
              f"wharfd {count / seconds:,.0f}/s, with its upload {count / (stored + seconds):,.0f}/s",
              flush=True)  # fmt: skip
    print(f"\n{count:,} orders a batch, {rounds} rounds, medians (lowest to highest)\n")
    middle("plain, one a transaction", found["one"], "orders/s")
    middle("plain, 1,000 a transaction", found["thousand"], "orders/s")
    middle("wharfd, worked", found["worked"], "orders/s")
    middle("wharfd, uploaded and worked", found["whole"], "orders/s")
    middle("wharfd, uploaded and stored", found["stored"], "orders/s")
    for name, text in (("one", "one a transaction"), ("thousand", "1,000 a transaction")):
        ratios = [w / p for w, p in zip(found["worked"], found[name], strict=True)]
        print(f"worked beside {text}: {statistics.median(ratios):.2f} ×")
    cuts = statistics.quantiles(polls, n=100)
    print(f"progress while it runs: p50 {cuts[49] * 1e3:.0f} ms, p95 {cuts[94] * 1e3:.0f} ms, "
          f"p99 {cuts[98] * 1e3:.0f} ms of {len(polls)} answers")  # fmt: skip


def weigh(daemon: Orders, folder: Path, lines: int) -> None:
    """Upload a big file and print how fast it was and how much memory the daemon took."""
    file = write(folder / "big.jsonl", lines, "M")
    size = file.stat().st_size / 1e6
    before = daemon.memory_mib()
    watch = Watch(daemon.memory_mib)
    watch.start()
    seconds, _ = daemon.upload(file, "?paused=true")
    watch.over.set()
    watch.join()
    print(f"\n{lines:,} lines ({size:.0f} MB) checked and stored in {seconds:.1f} s: "
          f"{size / seconds:.1f} MB/s, {lines / seconds:,.0f} orders/s")  # fmt: skip
    print(f"RSS {before:.0f} MB before, {watch.peak:.0f} MB at most (+{watch.peak - before:.0f})")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="0: leave the comparison out")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the big upload; 0: leave it out")
    parser.add_argument("--events", default='["updated", "completed", "failed"]', help="order_events")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="wharfd-bench-", dir="/tmp") as name:
        folder = Path(name)
        parse(folder, 50_000)
        daemon = Orders(folder, f"[plugins.orders]\norder_events = {arguments.events}\n")
        try:
            if arguments.rounds:
                compare(daemon, folder, arguments.orders, arguments.rounds)
            if arguments.lines:
                weigh(daemon, folder, arguments.lines)
        finally:
            daemon.stop()
            slow = daemon.log.read_text(errors="replace").count('"slow_statement"')
            print(f"statements above 200 ms: {slow}")


if __name__ == "__main__":
    main()
