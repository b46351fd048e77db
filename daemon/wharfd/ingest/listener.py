"""The public listener: accepts providers' connections within bounds, and lets them finish when it must stop.

`serve_ingest` is the whole life of it. It serves ingest routes and nothing else: no API, no console.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from time import monotonic

import structlog
import trio

from ..clock import Clock
from .connection import Connection
from .encoding import ReplyEncoder
from .limits import ListenerLimits
from .message import come_back
from .observing import ListenerStatistics, Observer, Sampler
from .polling import AVAILABLE, Poller
from .proxy import UNIX_PEER, Trust, counted_as, peer_address
from .quick import Answer, Gone, Service, Take
from .refusing import Refused
from .routes import RouteTable
from .transport import SocketTransport

_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_SHORT_OF_SECONDS = 0.1
_ACCEPTS_PER_TURN = 64
_TURNED_AWAY_AT_ONCE = 64
_SWEEP_SECONDS = 0.25


async def serve_ingest(
    routes: RouteTable,
    answer: Answer,
    *,
    take: Take | None = None,
    sockets: Sequence[socket.socket],
    log: structlog.stdlib.BoundLogger,
    limits: ListenerLimits | None = None,
    tls: ssl.SSLContext | None = None,
    trust: Trust | None = None,
    observer: Observer | None = None,
    statistics: ListenerStatistics | None = None,
    clock: Clock | None = None,
    drain: trio.Event | None = None,
    task_status: trio.TaskStatus[ListenerStatistics] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the routes on listening sockets until `drain` is set and every admitted request is answered.

    `answer(route, ctx, delivery)` decides what a delivery is told; `Answerer.answer` is the real one. `take`
    (`Answerer.take`) does the same for a POST without a task that waits; with it plain requests are quicker.
    The sockets are closed at the end; one that came from socket activation stays open in the service manager,
    and so does its queue. Started when it is accepting.

    Cancellation: closes everything at once; what the answerer has admitted is the answerer's to finish.
    """
    service = Service(
        routes=routes,
        answer=answer,
        take=take,
        poller=Poller() if take is not None and AVAILABLE else None,
        limits=limits or ListenerLimits(),
        trust=trust or Trust(),
        tls=tls,
        clock=clock or Clock(),
        observer=observer or Observer(),
        statistics=statistics or ListenerStatistics(),
        encoder=ReplyEncoder(),
        sampler=Sampler(),
        log=log,
    )
    listener = _Listener(service)
    try:
        async with trio.open_nursery() as nursery:
            listener.nursery = nursery
            nursery.start_soon(listener.sweep)
            if service.poller is not None:
                nursery.start_soon(service.poller.run)
            for listening in sockets:
                listening.setblocking(False)
                nursery.start_soon(listener.accept, listening)
            task_status.started(service.statistics)
            await (drain if drain is not None else trio.Event()).wait()
            await listener.drain(sockets)
            nursery.cancel_scope.cancel()
    finally:
        for listening in sockets:
            listening.close()


class _Listener:
    """The connections of one `serve_ingest`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.nursery: trio.Nursery
        self._connections: dict[Connection, SocketTransport] = {}
        self._leaving: set[Connection] = set()  # told to make room, not gone yet
        self._per_client: Counter[str] = Counter()
        self._turning_away = 0
        self._accepting = trio.CancelScope()
        self._draining = False
        self._closed = trio.Event()

    async def accept(self, listening: socket.socket) -> None:
        """Accept for as long as the listener is open, whatever goes wrong with single connections."""
        with self._accepting:
            while True:
                await trio.lowlevel.wait_readable(listening)
                if self._draining:
                    return
                if not self._accept_waiting(listening):
                    self._close_idle()
                    await trio.sleep(_SHORT_OF_SECONDS)

    def _accept_waiting(self, listening: socket.socket) -> bool:
        """Take what the kernel has ready; return False when files or memory have run out."""
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connected, name = listening.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in _SHORT_OF:
                    self._note("files", detail=error.strerror)
                    return False
                if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                    raise
                continue  # accept(2): an error of the connection that was waiting, not of the socket
            self._admit(connected, peer_address(name))
        return True

    def _admit(self, connected: socket.socket, peer: str) -> None:
        service = self.service
        transport = SocketTransport(connected, write_seconds=service.limits.write_seconds)
        key = self._counted(peer)
        if not self._has_room():
            reason = "full"
        elif key is not None and self._per_client[key] >= service.limits.per_client:
            reason = "per_client"
        else:
            connection = Connection(service, transport, peer)
            self._connections[connection] = transport
            service.statistics.connections = len(self._connections)
            service.statistics.connections_total += 1
            self.nursery.start_soon(self._serve, connection, transport, key)
            if key is not None:
                self._per_client[key] += 1
            return
        self._note(reason, peer=peer)
        if service.tls is None and self._turning_away < _TURNED_AWAY_AT_ONCE:
            self._turning_away += 1
            self.nursery.start_soon(self._turn_away, transport)
        else:
            transport.close()

    async def _serve(self, connection: Connection, transport: SocketTransport, key: str | None) -> None:
        service = self.service
        keys = [key] if key is not None else []
        try:
            if service.tls is not None or service.trust.proxy_protocol:
                await connection.open()
                if key is None and (key := self._counted(connection.peer)) is not None:
                    if self._per_client[key] >= service.limits.per_client:
                        self._note("per_client", peer=connection.peer)
                        return
                    self._per_client[key] += 1
                    keys.append(key)
            await connection.serve()
        except Gone:
            self._note("handshake", peer=connection.peer)
        except Refused as refused:
            self._note("proxy_header", peer=connection.peer, detail=refused.reason)
        except Exception:
            service.log.exception("ingest_connection_failed", peer=connection.peer)
        finally:
            transport.close()
            del self._connections[connection]
            self._leaving.discard(connection)
            service.statistics.connections = len(self._connections)
            self._closed.set()
            for counted in keys:
                self._per_client[counted] -= 1
                if not self._per_client[counted]:
                    del self._per_client[counted]

    async def _turn_away(self, transport: SocketTransport) -> None:
        reply = come_back(1, "too many connections; come back in a moment")
        try:
            await transport.send_all(self.service.encoder.encode(reply, connection=b"close"))
            await transport.linger()
        except trio.BrokenResourceError:
            pass  # it did not wait for the answer
        finally:
            self._turning_away -= 1
            transport.close()

    async def sweep(self) -> None:
        """End the waits that are over."""
        limits = self.service.limits
        shortest = min(limits.header_seconds, limits.body_seconds, limits.idle_seconds)
        while True:
            await trio.sleep(min(_SWEEP_SECONDS, shortest / 4))
            now = monotonic()
            for connection in [c for c in self._connections if c.deadline < now]:
                connection.expire()

    async def drain(self, sockets: Sequence[socket.socket]) -> None:
        """Stop accepting and return when what is admitted has been answered."""
        self._draining = True
        self._accepting.cancel()
        for listening in sockets:
            self._accept_waiting(listening)  # who is in the queue would be reset by the close
            listening.close()
        for connection in list(self._connections):
            connection.drain()
        with trio.move_on_after(self.service.limits.drain_seconds):
            await self._emptied()
        unfinished = [c for c in self._connections if not c.answering]
        if unfinished:
            self.service.log.warning("ingest_drain_cut_off", connections=len(unfinished))
        for connection in unfinished:
            connection.expire()
        await self._emptied()

    async def _emptied(self) -> None:
        while self._connections:
            await self._closed.wait()
            self._closed = trio.Event()

    def _has_room(self) -> bool:
        """Whether one more fits; who says nothing makes room for who may have something to say."""
        limit = self.service.limits.connections
        if len(self._connections) - len(self._leaving) >= limit:
            self._close_idle()
        return len(self._connections) - len(self._leaving) < limit

    def _close_idle(self) -> None:
        """Make room: close the idle connections that would have to wait least for their own end."""
        idle = [c for c in self._connections if c.idle and c not in self._leaving]
        idle.sort(key=lambda c: c.deadline)
        for connection in idle[: max(1, len(idle) // 8)]:
            self._leaving.add(connection)
            connection.expire()

    def _counted(self, peer: str) -> str | None:
        return None if peer == UNIX_PEER or self.service.trust.trusts(peer) else counted_as(peer)

    def _note(self, reason: str, **facts: object) -> None:
        service = self.service
        service.statistics.turned_away[reason] += 1
        service.observer.turned_away(reason)
        suppressed = service.sampler.suppressed(f"turned away: {reason}")
        if suppressed is not None:
            service.log.warning("ingest_connection_turned_away", why=reason, suppressed=suppressed, **facts)
