"""From a provider's webhook to the customer's delivery: latency through a whole daemon, as anybody runs it.

    python bench/webhooks_chain.py                          # 10 s each at 50, 200 and 500 a second
    python bench/webhooks_chain.py --rates 200 --seconds 30 --endpoints 10

A signed Paysafe payment is posted to the ingest listener at an even rate (open loop: each has its moment,
whether the one before was answered or not). The daemon verifies and commits it, works out the transaction,
publishes `payment.received`, makes a delivery per endpoint, writes the attempt, signs and sends. The clock
runs from the moment the provider's webhook was to be sent to the arrival of the customer's request at the
receiver; `accept p95` counts from when the provider had its 200. Sender, receiver, daemon and PostgreSQL
(fsync on) are processes of one machine; the receiver stores nothing. The second table says when each step was
reached, by the times that the rows carry.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import re
import selectors
import socket
import tempfile
import time
import urllib.request
import uuid
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rig import KEY, NETBANX, Daemon, durable_postgres, query, receiver

from wharfd.testing.postgres import Cluster
from wharfd_netbanx.samples import sample_document

WEBHOOKS = '[plugins.webhooks]\nallow_networks = ["127.0.0.0/8"]\n'

_ID = re.compile(rb'"external_id":"([^"]+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LATE_SECONDS = 30.0

STEPS = """
SELECT extract(epoch FROM e.received_at) AS accepted, extract(epoch FROM p.published_at) AS worked,
  extract(epoch FROM d.created_at) AS fanned_out, extract(epoch FROM a.started_at) AS begun,
  extract(epoch FROM a.finished_at) AS finished
FROM webhooks.attempts a
JOIN webhooks.deliveries d ON d.id = a.delivery_id AND d.created_at = a.delivery_at
JOIN wharfd.events p ON p.id = d.message_id
JOIN netbanx.events e ON e.id = p.data->>'source_event_id'
ORDER BY e.received_at DESC LIMIT {count}
"""


# -- the receiver: `python bench/webhooks_chain.py receiver` ------------------------------------------------


def receive() -> None:
    """Serve with one selector: a POST is noted by payment and arrival, a GET returns the notes."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("0.0.0.0", 0), backlog=1024)  # many loopback addresses
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ, None)
    print(listener.getsockname()[1], flush=True)
    arrived: dict[str, float] = {}
    counts = [0]
    while True:
        for key, _ in selector.select():
            if key.data is None:
                one, _ = listener.accept()
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(one, selectors.EVENT_READ, bytearray())
                continue
            try:
                data = key.fileobj.recv(262144)  # type: ignore[union-attr]
            except (BlockingIOError, ConnectionResetError):
                continue
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                continue
            now = time.monotonic()
            key.data.extend(data)
            _serve(key.fileobj, key.data, now, arrived, counts)


def _serve(one: Any, buffer: bytearray, now: float, arrived: dict[str, float], counts: list[int]) -> None:
    while (end := buffer.find(b"\r\n\r\n")) >= 0:
        head = bytes(buffer[:end])
        found = _LENGTH.search(head)
        size = end + 4 + (int(found[1]) if found else 0)
        if len(buffer) < size:
            return
        body = bytes(buffer[end + 4 : size])
        del buffer[:size]
        if head.startswith(b"GET"):
            one.setblocking(True)
            text = json.dumps({"arrived": arrived, "requests": counts[0]}).encode()
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            one.setblocking(False)
            arrived.clear()
            continue
        counts[0] += 1
        if marked := _ID.search(body):
            arrived.setdefault(marked[1].decode(), now)
        one.sendall(_ANSWER)


# -- the sender -------------------------------------------------------------------------------------------


def requests(count: int) -> list[tuple[str, bytes]]:
    """Make signed payments, each another one; return their ids and the requests."""
    document = sample_document("payment-completed", number=1, at=datetime.now(UTC))
    marker = document["resourceId"].encode()
    template, secret = msgspec.json.encode(document), base64.b64decode(KEY)
    made = []
    for _ in range(count):
        payment = str(uuid.uuid4())
        body = template.replace(marker, payment.encode())
        signature = base64.b64encode(hmac.digest(secret, body, "sha256"))
        head = (
            b"POST /api/webhooks/netbanx HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Signature: %b\r\nContent-Length: %d\r\n\r\n" % (signature, len(body))
        )
        made.append((payment, head + body))
    return made


def send(port: int, rate: int, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Post at an even rate over as many connections as are needed; return when each was due, and answered."""
    made = requests(int(rate * seconds))
    due_at: dict[str, float] = {}
    answered: dict[str, float] = {}
    idle: deque[socket.socket] = deque()
    selector = selectors.DefaultSelector()
    under_way: dict[socket.socket, str] = {}
    start = time.monotonic() + 0.05
    n = 0
    until = start + seconds + LATE_SECONDS
    while n < len(made) or under_way:
        now = time.monotonic()
        if now > until:
            raise SystemExit(f"{len(under_way)} webhooks were not answered")
        while n < len(made) and start + n / rate <= now:
            one = idle.popleft() if idle else _connect(port, selector)
            due = start + n / rate
            payment, request = made[n]
            due_at[payment] = due
            one.sendall(request)
            under_way[one] = payment
            n += 1
        wait = max(0.0, start + n / rate - time.monotonic()) if n < len(made) else 0.5
        for key, _ in selector.select(wait):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a webhook was refused: {data[:300]!r}")
            answered[under_way.pop(key.fileobj)] = time.monotonic()  # type: ignore[arg-type]
            idle.append(key.fileobj)  # type: ignore[arg-type]
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    return due_at, answered


def _connect(port: int, selector: selectors.BaseSelector) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(one, selectors.EVENT_READ)
    return one


# -- the daemon -------------------------------------------------------------------------------------------


class Chain(Daemon):
    """The daemon with the two plugins, and endpoints that want every payment."""

    def __init__(self, folder: Path, cluster: Cluster, endpoints: int, receiver: int) -> None:
        self.cluster = cluster
        super().__init__(folder, NETBANX + WEBHOOKS, cluster)
        for number in range(endpoints):
            url = f"http://127.0.{1 + number // 250}.{1 + number % 250}:{receiver}/{number}"
            self.ask("/api/v1/webhooks", {"url": url, "events": ["payment.*"]})


def fetch(port: int) -> dict[str, float]:
    """Return what has arrived since the last time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        found: dict[str, float] = json.loads(answer.read())["arrived"]
        return found


def collect(port: int, wanted: set[str]) -> dict[str, float]:
    """Wait until all of them have arrived, or it is too late."""
    arrived: dict[str, float] = {}
    until = time.monotonic() + LATE_SECONDS
    while time.monotonic() < until and not wanted <= arrived.keys():
        for key, at in fetch(port).items():
            arrived.setdefault(key, at)
        time.sleep(0.2)
    return arrived


def part(values: list[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return 1000 * values[min(len(values) - 1, int(len(values) * share))]


def measure(chain: Chain, receiver: int, rates: list[int], seconds: float) -> None:
    """Run each rate and print its rows."""
    due_at, _ = send(chain.ingest, 50, 2.0)  # plans, caches and connections
    collect(receiver, set(due_at))
    heads = (
        "rate",
        "accepted",
        "delivered",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "accept p95",
        "answer p50",
        "answer p99",
        "daemon cpu",
    )
    print("".join(f"{head:>12}" for head in heads))
    steps = []
    for rate in rates:
        before = chain.cpu_seconds()
        due_at, answered = send(chain.ingest, rate, seconds)
        cpu = (chain.cpu_seconds() - before) / seconds
        arrived = collect(receiver, set(due_at))
        ages = sorted(arrived[key] - due for key, due in due_at.items() if key in arrived)
        since = sorted(arrived[key] - at for key, at in answered.items() if key in arrived)
        answers = sorted(at - due_at[key] for key, at in answered.items())
        figures = [
            part(ages, 0.5),
            part(ages, 0.95),
            part(ages, 0.99),
            part(since, 0.95),
            part(answers, 0.5),
            part(answers, 0.99),
        ]
        print(
            f"{rate:>10}/s{len(answered):>12}{len(ages):>12}"
            + "".join(f"{x:>12.1f}" for x in figures)
            + f"{cpu:>12.0%}",
            flush=True,
        )
        steps.append((rate, len(due_at)))
        time.sleep(1.0)
        where(chain, rate, len(due_at))


def where(chain: Chain, rate: int, count: int) -> None:
    """Print when each step was reached, after the acceptance."""
    text = query(chain.cluster, "served", STEPS.format(count=count))
    rows = [[float(x) if x else None for x in line.split("|")] for line in text.splitlines()]
    line = f"{'':>10}  steps after acceptance, p50/p95 ms:"
    for place, name in enumerate(("worked", "fanned out", "attempt begun", "result written"), 1):
        values = sorted(row[place] - row[0] for row in rows if row[place] is not None and row[0] is not None)
        if values:
            line += f"  {name} {part(values, 0.5):.1f}/{part(values, 0.95):.1f}"
    print(line, flush=True)


def main() -> None:
    """Run it and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="chain", choices=["chain", "receiver"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument(
        "--rates", type=lambda text: [int(part) for part in text.split(",")], default=[50, 200, 500]
    )
    given = parser.parse_args()
    if given.what == "receiver":
        receive()
        return
    with (
        receiver(__file__, "receiver") as port,
        durable_postgres("served") as cluster,
        tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder,
    ):
        chain = Chain(Path(folder), cluster, given.endpoints, port)
        try:
            measure(chain, port, given.rates, given.seconds)
        finally:
            chain.stop()


if __name__ == "__main__":
    main()
