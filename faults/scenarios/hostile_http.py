"""Hostile senders: malformed requests, smuggling, slow heads and bodies, thousands of idle connections."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress

import trio

from ..stage import Scenario, Stage

HEAD = b"POST /proof HTTP/1.1\r\nHost: x\r\n"
MALFORMED = {
    "no version": b"POST /proof\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "control bytes": b"POST /proof HTTP/1.1\r\nHost: x\x00y\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "spelt coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "blank before colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "plus length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "huge length": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    "bare LF": b"POST /proof HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "bare CR": HEAD + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "no host": b"POST /proof HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": HEAD + b"Host: y\r\nContent-Length: 2\r\n\r\n{}",
    "chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk overflow": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "header flood": HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n",
    "long header": HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    "long target": b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "old chunks": b"POST /proof HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too big": HEAD + b"Content-Length: 10485760\r\n\r\n" + b"x" * 65536,
}
MEMORY_BYTES = 64 << 20
INNER = b"POST /proof HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
SMUGGLED = {  # each hides a second request from whoever reads the framing otherwise; %n is its length
    "length over chunks": (b"Content-Length: %n\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    "chunks over length": (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", b""),
    "unknown coding": (b"Transfer-Encoding: cow\r\nContent-Length: 0\r\n\r\n", b""),
    "two codings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", b""),
    "coding in a list": (b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", b""),
    "tab before colon": (b"Transfer-Encoding\t: chunked\r\nContent-Length: %n\r\n\r\n0\r\n\r\n", b""),
    "blank before name": (b"A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", b""),
    "vertical tab": (b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\n", b""),
    "null in coding": (b"Transfer-Encoding: chunked\x00\r\nContent-Length: 0\r\n\r\n", b""),
    "quoted coding": (b'Transfer-Encoding: "chunked"\r\nContent-Length: 0\r\n\r\n', b""),
    "coding after bare CR": (b"A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", b""),
    "coding after LF": (b"A: b\nTransfer-Encoding: chunked\nContent-Length: 0\r\n\r\n", b""),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: %n\r\n\r\n", b""),
    "lengths in a list": (b"Content-Length: 0, %n\r\n\r\n", b""),
    "signed length": (b"Content-Length: +0\r\n\r\n", b""),
    "length in hex": (b"Content-Length: 0x0\r\n\r\n", b""),
    "length with underscore": (b"Content-Length: 0_0\r\n\r\n", b""),
    "folded length": (b"Content-Length:\r\n 0\r\n\r\n", b""),
    "empty length": (b"Content-Length:\r\n\r\n", b""),
    "wrapped chunk size": (b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", b"\r\n0\r\n\r\n"),
    "signed chunk size": (b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n", b""),
    "chunk size in 0x": (b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n", b""),
    "chunk without end": (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n", b""),
    "chunk ends in LF": (b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", b""),
    "extension hides LF": (b"Transfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n", b""),
    "length in trailer": (b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length : 5\r\n\r\n", b""),
}


async def run(stage: Stage) -> None:
    """Good deliveries go on meanwhile; nothing malformed is answered with 2xx or 5xx."""
    daemon = await stage.started()
    async with stage.load() as load, trio.open_nursery() as nursery:
        await load.more(100)
        before = daemon.memory()
        idle = await _open_idle(daemon.ingest, int(stage.scale(600, 10_000)))
        for _ in range(int(stage.scale(10, 50))):
            nursery.start_soon(_drip, daemon.ingest)
        for number in stage.times(1, 20):
            for name, request in MALFORMED.items():
                status = await _answer(daemon.ingest, request)
                stage.expect(
                    status is None or 400 <= status < 500 or status in (501, 505), f"{name}: {status}"
                )
            for name, (framing, end) in SMUGGLED.items():
                for port in (daemon.ingest, daemon.api):
                    status = await _answer(port, _smuggle(f"{name} {port} {number}", framing, end))
                    stage.expect(status is None or 400 <= status < 502, f"smuggled by {name}: {status}")
        await load.more(int(stage.scale(100, 1000)))
        grown = daemon.memory() - before
        for one in idle:
            one.close()
        nursery.cancel_scope.cancel()
        stage.expect(grown < MEMORY_BYTES, f"the memory grew by {grown >> 20} MiB")
        stage.note(f"{len(idle)} idle connections were opened, memory grew by {grown >> 20} MiB")
        stage.note(f"{len(MALFORMED)} kinds of malformed requests, slow heads and bodies beside them")
        stage.note(f"{len(SMUGGLED)} ways of smuggling a delivery in, tried on both ports: none was stored")
    begun = trio.current_time()
    async with stage.load(prefix="after") as load:
        await stage.recovered(load, begun)


def _smuggle(operation: str, framing: bytes, end: bytes) -> bytes:
    """Return a request that hides a delivery nobody offered; the checker would find it as invented."""
    body = b'{"id":"%b","kind":"single"}' % operation.encode()
    inner = INNER % (len(body), body)
    return HEAD + framing.replace(b"%n", b"%d" % (len(inner) + 5)) + inner + end


async def _open_idle(port: int, count: int) -> list[socket.socket]:
    """Open connections that say nothing, from many loopback addresses."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = []
    for number in range(count):
        one = socket.socket()
        one.bind((f"127.9.{number // 200 % 250}.{number % 200 + 1}", 0))
        one.setblocking(False)
        with suppress(BlockingIOError):
            one.connect(("127.0.0.1", port))
        opened.append(one)
        if number % 100 == 99:
            await trio.sleep(0.02)
    return opened


async def _drip(port: int) -> None:
    """Send a head byte by byte, again and again: slowloris."""
    while True:
        with suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                for byte in HEAD * 100:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.1)
        await trio.sleep(0.1)


async def _answer(port: int, request: bytes) -> int | None:
    """Send bytes and return the status of the answer; None when the connection was closed without one."""
    data = b""
    with suppress(OSError, trio.BrokenResourceError), trio.move_on_after(15):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with suppress(OSError, trio.BrokenResourceError):
                await stream.send_all(request)
                await stream.send_eof()
            while more := await stream.receive_some(65536):
                data += bytes(more)
    return int(data.split()[1]) if data.startswith(b"HTTP/1.1 ") else None


SCENARIO = Scenario(
    "hostile-http", "Malformed requests, smuggling, slowloris and 10,000 idle connections.", run
)
