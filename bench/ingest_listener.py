"""The ingest listener beside a raw ASGI application on hypercorn (trio worker), without storage.

Both servers run at the same time, each in a process of its own, and answer the same keep-alive POST with the
same body. One client drives them by turns in interleaved rounds; the ratio is taken round by round and the
median reported. `requests/CPU s` divides by the server's own CPU time and does not depend on the client.

    python bench/ingest_listener.py [--rounds 7] [--seconds 2] [--connections 32]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import select
import socket
import statistics
import sys
import time
from importlib.metadata import version
from multiprocessing import Process, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BODY = b'{"id":"7d2e","eventType":"PAYMENT_COMPLETED","payload":{"amount":12345,"currencyCode":"EUR"}}' * 5
REPLY = b'{"success":true,"webhookId":"evt_01jd0000000000000000000000","duplicate":false}'
REQUEST = (
    b"POST /api/webhooks/netbanx HTTP/1.1\r\nHost: hooks.example.com\r\n"
    b"User-Agent: Paysafe-Notifications/2.3\r\nAccept: */*\r\nContent-Type: application/json\r\n"
    b"Signature: 5b2eF6QJv1mE8r1oXkZkYw3xw0b3m4k1xv4b5m6w7z8=\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


def serve_wharfd(listening: socket.socket, pipe: Connection) -> None:
    import structlog
    import trio

    from wharfd.declare import IngestRoute
    from wharfd.ingest import Delivery, Reply, RouteTable, serve_ingest

    async def answer(route: IngestRoute, ctx: Any, delivery: Delivery) -> Reply:
        assert delivery.header("signature")
        return Reply(200, REPLY)

    async def main() -> None:
        routes = RouteTable()
        path = "/api/webhooks/netbanx"
        route = IngestRoute(source="bench", paths=(path,), admit=print, store=answer, spool=False)
        routes.mount(route, None, plugin="bench")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_cpu, pipe)
            await serve_ingest(routes, answer, sockets=[listening], log=structlog.get_logger())

    trio.run(main)


def serve_hypercorn(listening: socket.socket, pipe: Connection) -> None:
    import trio
    from hypercorn.config import Config
    from hypercorn.trio import serve

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        assert dict(scope["headers"])[b"signature"]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REPLY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": REPLY})

    async def main() -> None:
        config = Config()
        config.bind = [f"fd://{listening.fileno()}"]
        config.loglevel = "ERROR"
        config.keep_alive_max_requests = 10**9
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_cpu, pipe)
            await serve(application, config, mode="asgi")  # type: ignore[arg-type]

    trio.run(main)


async def report_cpu(pipe: Connection) -> None:
    import trio

    while True:
        await trio.lowlevel.wait_readable(pipe.fileno())
        pipe.recv()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(usage.ru_utime + usage.ru_stime)


def drive(port: int, connections: int, seconds: float) -> int:
    """Send one request at a time on each connection for so long; return how many were answered."""
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(connections):
        connected = socket.create_connection(("127.0.0.1", port))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connected.fileno()] = connected
        poll.register(connected.fileno(), select.EPOLLIN)
    for connected in sockets.values():
        connected.sendall(REQUEST)
    answered = 0
    held = dict.fromkeys(sockets, b"")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for number, _ in poll.poll(1):
            data = held[number] + sockets[number].recv(65536)
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {data[:200]!r}")
            if data.endswith(REPLY):
                answered += 1
                held[number] = b""
                sockets[number].send(REQUEST)
            else:
                held[number] = data
    for connected in sockets.values():
        connected.close()
    poll.close()
    return answered


class Server:
    def __init__(self, name: str, target: Any) -> None:
        self.name = name
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.socket.getsockname()[1]
        self.pipe, theirs = get_context("fork").Pipe()
        self.process: Process = get_context("fork").Process(  # type: ignore[assignment]
            target=target, args=(self.socket, theirs), daemon=True
        )
        self.process.start()

    def cpu(self) -> float:
        self.pipe.send(None)
        return float(self.pipe.recv())

    def round(self, connections: int, seconds: float) -> tuple[float, float]:
        before = self.cpu()
        started = time.monotonic()
        answered = drive(self.port, connections, seconds)
        elapsed = time.monotonic() - started
        return answered / elapsed, answered / (self.cpu() - before)


def describe_machine() -> str:
    model = platform.processor() or "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = " ".join(f"{name} {version(name)}" for name in ("trio", "httptools", "hypercorn", "h11"))
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    print(describe_machine())
    print(
        f"{options.connections} connections, {len(REQUEST)} byte requests, {options.rounds} rounds",
        flush=True,
    )
    ours, theirs = Server("wharfd", serve_wharfd), Server("hypercorn", serve_hypercorn)
    for server in (ours, theirs):
        server.round(4, 0.3)  # warm up, and fail early
    rates: dict[str, list[float]] = {"wharfd": [], "hypercorn": []}
    per_cpu: dict[str, list[float]] = {"wharfd": [], "hypercorn": []}
    for number in range(options.rounds):
        for server in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            rate, cpu_rate = server.round(options.connections, options.seconds)
            rates[server.name].append(rate)
            per_cpu[server.name].append(cpu_rate)
    for label, figures in (("requests/s", rates), ("requests/CPU s", per_cpu)):
        ratios = [a / b for a, b in zip(figures["wharfd"], figures["hypercorn"], strict=True)]
        print(
            f"{label:15} wharfd {statistics.median(figures['wharfd']):9,.0f}"
            f"   hypercorn {statistics.median(figures['hypercorn']):7,.0f}"
            f"   ratio {statistics.median(ratios):5.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        )
    for server in (ours, theirs):
        server.process.terminate()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
