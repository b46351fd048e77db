"""A connected socket under trio, without the costs of a general stream on the hot path.

A `receive_some` here is one wait and one `recv`; a `send_all` is one `send` unless the peer is slow. It is
also a trio stream, so TLS is `trio.SSLStream` on top of it.
"""

from __future__ import annotations

import socket
from typing import Final

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

READ_BYTES: Final = 32_768
_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 16 << 20


class Woken(Exception):
    """Somebody called `wake` while nothing was there to read."""


class SocketTransport(trio.abc.Stream):
    """Owns a connected, non-blocking socket."""

    __slots__ = ("_socket", "_woken", "_write_seconds")

    def __init__(self, connected: socket.socket, *, write_seconds: float) -> None:
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._woken = False
        self._write_seconds = write_seconds

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; an empty answer means that the peer has finished or is gone.

        Always a checkpoint. Raises `Woken` after `wake` if there is nothing to read even then: who sends
        without a pause is read to the end of what is there, and not waited for any more.
        """
        while True:
            try:
                if self._woken:
                    await trio.lowlevel.checkpoint()
                else:
                    await wait_readable(self._socket)
            except trio.ClosedResourceError:
                if not self._woken:
                    raise
            try:
                return self._socket.recv(max_bytes or READ_BYTES)
            except BlockingIOError:
                if self._woken:
                    self._woken = False
                    raise Woken from None
            except OSError:
                return b""

    @property
    def socket(self) -> socket.socket:
        """The socket, for whoever waits for it in another way."""
        return self._socket

    def receive_now(self) -> bytes | None:
        """Return what is there to read, None if there is nothing; empty means as for `receive_some`."""
        try:
            return self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def send_now(self, data: bytes) -> int:
        """Send what the peer takes at once and return how much; raises as `send_all`."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError("the peer is gone") from error

    async def peek(self) -> bytes:
        """Wait for bytes and return them without taking them."""
        while True:
            await wait_readable(self._socket)
            try:
                return self._socket.recv(READ_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def take(self, count: int) -> None:
        """Drop bytes that `peek` has shown."""
        while count > 0:
            count -= len(self._socket.recv(count))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises `trio.BrokenResourceError` if the peer is gone or takes too long.

        A checkpoint only when the peer is slow.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise trio.BrokenResourceError("the peer is gone") from error
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        with trio.move_on_after(self._write_seconds):
            while rest:
                try:
                    await wait_writable(self._socket)
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    continue
                except trio.ClosedResourceError as error:  # woken: its time is over
                    raise trio.BrokenResourceError("the peer does not read") from error
                except OSError as error:
                    raise trio.BrokenResourceError("the peer is gone") from error
        if rest:
            raise trio.BrokenResourceError("the peer does not read its answer")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes bytes."""
        await wait_writable(self._socket)

    def wake(self) -> None:
        """Let a waiting `receive_some` look once more and then raise `Woken`."""
        self._woken = True
        notify_closing(self._socket)

    async def linger(self) -> None:
        """Stop sending, then read and drop for a while, so that the peer gets to read what was sent.

        Closing with unread bytes resets the connection, and the answer could be lost with it.
        """
        left = _LINGER_BYTES
        try:
            self._socket.shutdown(socket.SHUT_WR)
            with trio.move_on_after(_LINGER_SECONDS):
                while left > 0 and (data := await self.receive_some()):
                    left -= len(data)
        except (OSError, Woken):
            return

    def close(self) -> None:
        """Close the socket at once."""
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """Close the socket."""
        self.close()
        await trio.lowlevel.checkpoint()
