"""One connection: hypercorn's HTTP/1.1 protocol on a trio stream, with an end to every wait.

hypercorn's own loop keeps a connection for the whole idle time after its caller left, waits without end for a
caller that stopped reading, and takes HTTP/2 in clear text and websockets, which nothing here serves.
"""

from __future__ import annotations

from typing import Any

import h11
import msgspec
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from .connection import PlainConnection, TlsConnection
from .framing import make_strict
from .identifiers import request_id_of
from .problems import CONTENT_TYPE, HttpProblem

CONNECTION = "wharfd.connection"

_PIECE = 65536
_BAD_MESSAGES = {
    400: "the request is not HTTP/1.1",
    431: "the head of the request is too large",
    501: "the transfer encoding is not known here",
}


class Http1(H11Protocol):
    """HTTP/1.1 alone; a message that is not HTTP gets a problem document before the connection ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        assert isinstance(self.connection, h11.Connection)
        make_strict(self.connection)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never change to another protocol."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    async def _send_error_response(self, status_code: int) -> None:
        problem = HttpProblem(_BAD_MESSAGES.get(status_code, _BAD_MESSAGES[400]), status=status_code)
        request_id = request_id_of(None)
        body = msgspec.json.encode(problem.document(request_id=request_id, instance=""))
        fields = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(headers=fields, status_code=status_code))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class Line:
    """Carries one connection from its first byte to its last."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        connection: PlainConnection | TlsConnection,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._connection = connection
        self._idle = TrioSingleTask()
        self._sending = trio.Lock()
        self._over = False
        self._group: Any = None
        self._protocol: Any = None

    async def run(self) -> None:
        """Serve requests until the caller leaves, is idle for too long, or the server stops."""
        secure = isinstance(self._connection, TlsConnection)
        if secure and not await self._shake_hands():
            return
        try:
            peer, here = self._addresses()
        except OSError:
            return  # it was gone before we looked
        async with TaskGroup() as self._group:
            self._protocol = Http1(
                self._app,
                self._config,
                self._context,
                self._group,
                ConnectionState({CONNECTION: self._connection}),
                secure,
                peer,
                here,
                self._send,
            )
            await self._idle.restart(self._group, self._close_when_idle)
            await self._read()
            self._over = True
            await self._idle.stop()
        await self._connection.aclose()

    async def _shake_hands(self) -> bool:
        assert isinstance(self._connection, TlsConnection)
        try:
            with trio.fail_after(self._config.ssl_handshake_timeout):
                await self._connection.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return False
        return True

    def _addresses(self) -> tuple[Any, Any]:
        socket = self._connection.socket
        return (
            parse_socket_addr(socket.family, socket.getpeername()),
            parse_socket_addr(socket.family, socket.getsockname()),
        )

    async def _read(self) -> None:
        while True:
            try:
                data = await self._connection.receive_some(_PIECE)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if not data:
                break
            await self._protocol.handle(RawData(bytes(data)))
        self._connection.caller_left()
        await self._protocol.handle(RawData(b""))
        await self._protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            async with self._sending:
                try:
                    # Half a message would spoil the connection; the write timeout and `cut` end this.
                    with trio.CancelScope(shield=True):
                        await self._connection.send_all(event.data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._protocol.handle(Closed())
        elif isinstance(event, Closed):
            await self._connection.aclose()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated) and not self._over:
            if event.idle:
                await self._idle.restart(self._group, self._close_when_idle)
            else:
                await self._idle.stop()

    async def _close_when_idle(self) -> None:
        with trio.move_on_after(self._config.keep_alive_timeout):
            await self._context.terminated.wait()
        with trio.CancelScope(shield=True):
            await self._protocol.handle(Closed())
            await self._connection.aclose()
