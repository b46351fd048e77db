"""Serves the application over sockets: TLS, connection cap, graceful drain. hypercorn speaks the protocol."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import LifespanState

from ..sockets import describe, open_sockets
from .application import Application
from .connection import PlainConnection, guard
from .protocol import Line
from .tls import ServerTls

_HANDSHAKE_SECONDS = 10.0
_LARGEST_HEAD = 32 * 1024


class _Log(Logger):
    """hypercorn's log as events of ours; its access log is off, the application has a better one."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self.access_logger = None
        self.error_logger = None
        self._log = log

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        self._log.exception("asgi_failed", what=message)

    async def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        self._log.warning("asgi_warning", what=message)


class Serving:
    """One run of the server over its sockets."""

    def __init__(self, app: Application, *, tls: ServerTls | None, log: structlog.stdlib.BoundLogger) -> None:
        self._app = app
        self._tls = tls
        self._log = log
        self._settings = app.settings
        self._context = WorkerContext(None)
        self._wrapped = ASGIWrapper(app)
        self._open: set[PlainConnection] = set()
        self._empty = trio.Event()
        self._empty.set()
        self._stop = trio.Event()
        self._config = Config()
        self._config._log = _Log(log)
        self._config.include_server_header = False
        self._config.h11_max_incomplete_size = _LARGEST_HEAD
        self._config.keep_alive_timeout = self._settings.idle_timeout_seconds
        self._config.ssl_handshake_timeout = _HANDSHAKE_SECONDS

    async def wait_empty(self) -> None:
        """Return when no connection is open."""
        while self._open:
            await self._empty.wait()

    def stop(self) -> None:
        """Stop accepting; `run` returns when all is answered, at the latest after the drain time."""
        self._stop.set()

    async def run(
        self,
        sockets: Sequence[socket.socket] = (),
        *,
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on the sockets handed over, or on those of the settings, until `stop`.

        `task_status.started` gets the URLs. Raises `CannotListen` before anything is served.
        """
        opened = list(sockets) or open_sockets(self._settings.bind)
        for listener in opened:
            listener.setblocking(False)
        ours = [] if sockets else [Path(s.getsockname()) for s in opened if s.family == socket.AF_UNIX]
        lifespan = Lifespan(self._wrapped, self._config, LifespanState({}))
        try:
            async with trio.open_nursery() as outer:
                await outer.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                async with trio.open_nursery() as connections:
                    try:
                        await self._accept(opened, connections, task_status)
                        await self._drain()
                    finally:  # before the nursery waits: a write under way is shielded and only a cut ends it
                        self._cut_all()
                        connections.cancel_scope.cancel()
                await lifespan.wait_for_shutdown()
                outer.cancel_scope.cancel()
        finally:
            for listener in opened:
                listener.close()
            for path in ours:
                path.unlink(missing_ok=True)

    async def _accept(
        self,
        sockets: Sequence[socket.socket],
        connections: trio.Nursery,
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        listeners = [self._listener(one) for one in sockets]
        urls = [describe(one, secure=self._tls is not None) for one in sockets]
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await trio.serve_listeners(self._serve_one, listeners, handler_nursery=connections)

            nursery.start_soon(serve)
            task_status.started(urls)
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Wait for what is under way, but not for ever."""
        self._app.stopping.set()
        await self._context.terminated.set()
        with trio.move_on_after(self._settings.drain_seconds):
            await self.wait_empty()
        if self._open:
            self._log.warning("connections_cut", count=len(self._open))

    def _cut_all(self) -> None:
        for connection in self._open:
            connection.cut()

    def _listener(self, opened: socket.socket) -> trio.abc.Listener[Any]:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(opened))
        if self._tls is None:
            return listener
        return trio.SSLListener(listener, self._tls.context, https_compatible=True)

    async def _serve_one(self, stream: Any) -> None:
        """Serve one connection; what goes wrong in it stays in it."""
        if len(self._open) >= self._settings.max_connections:
            self._app.measure.refused.inc()
            await trio.aclose_forcefully(stream)
            return
        connection = guard(stream, self._settings.write_timeout_seconds)
        self._enter(connection)
        try:
            await Line(self._wrapped, self._config, self._context, connection).run()
        except trio.Cancelled:
            raise
        except Exception:
            self._log.exception("connection_failed")
        except BaseExceptionGroup as group:
            passing, rest = group.split((trio.Cancelled, KeyboardInterrupt, GeneratorExit))
            if rest is not None:
                self._log.error("connection_failed", exc_info=rest)
            if passing is not None:
                raise passing from None
        finally:
            connection.cut()
            self._leave(connection)

    def _enter(self, connection: PlainConnection) -> None:
        if not self._open:
            self._empty = trio.Event()
        self._open.add(connection)
        self._app.measure.connections.inc()

    def _leave(self, connection: PlainConnection) -> None:
        self._open.discard(connection)
        self._app.measure.connections.dec()
        if not self._open:
            self._empty.set()
