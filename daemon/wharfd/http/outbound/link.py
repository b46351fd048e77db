"""One connection to one vetted address: a socket that counts what the kernel took, with TLS on top or not."""

from __future__ import annotations

import errno
import socket
import ssl

import trio


class Wire(trio.abc.Stream):
    """A TCP socket as a stream. `accepted` counts the bytes the kernel took: 0 proves that none left."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock
        self.accepted = 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; raises `BrokenResourceError` when the other side is gone."""
        rest = memoryview(data)
        try:
            while rest:
                count = await self.socket.send(rest)
                self.accepted += count
                rest = rest[count:]
        except OSError as exc:
            raise _translated(exc) from exc

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes bytes."""
        await trio.lowlevel.wait_writable(self.socket.fileno())

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there; empty at the end."""
        try:
            return await self.socket.recv(max_bytes or 65536)
        except OSError as exc:
            raise _translated(exc) from exc

    async def aclose(self) -> None:
        """Close the socket."""
        self.socket.close()
        await trio.lowlevel.checkpoint()


def _translated(exc: OSError) -> Exception:
    if exc.errno == errno.EBADF:  # closed by ourselves
        return trio.ClosedResourceError("this socket is closed")
    return trio.BrokenResourceError(exc.strerror or "the connection broke")


class Link:
    """A connection that may carry one request after the other."""

    def __init__(self, wire: Wire, peer: tuple[str, int]) -> None:
        self.wire = wire
        self.stream: trio.abc.Stream = wire
        self.peer = peer
        self.opened_at = trio.current_time()
        self.idle_since = self.opened_at
        self.reusable = False

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Shake hands; certificate and name are checked by the context."""
        stream = trio.SSLStream(self.wire, context, server_hostname=server_name, https_compatible=True)
        await stream.do_handshake()
        self.stream = stream

    def quiet(self) -> bool:
        """Say whether nothing has come since the last answer: an idle server only ever sends its goodbye."""
        return not self.wire.socket.is_readable()

    def close(self) -> None:
        """Close at once, without a word; never blocks."""
        self.reusable = False
        self.wire.socket.close()
