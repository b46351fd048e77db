"""The quick way through a connection: plain requests answered from plain functions, without waking its task.

Called by the poller, the committer and the sweep, never at the same time as the task of `connection`, which
has everything else. Who has the connection at the moment is its `_way`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from ssl import SSLContext
from time import monotonic
from typing import Any

import structlog
import trio

from ..clock import Clock
from ..declare import IngestRoute
from .encoding import ReplyEncoder
from .limits import ListenerLimits
from .message import Delivery, Reply, come_back, problem
from .observing import ListenerStatistics, Observer, Sampler
from .parsing import Head, RequestParser
from .polling import Poller
from .proxy import Trust
from .refusing import Refused
from .routes import Mounted, RouteTable
from .transport import READ_BYTES, SocketTransport

Answer = Callable[[IngestRoute, Any, Delivery], Awaitable[Reply]]
Take = Callable[[IngestRoute, Any, Delivery, Callable[[Reply], None]], Reply | None]

_DOWN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """What all connections of a listener share."""

    routes: RouteTable
    answer: Answer
    take: Take | None
    poller: Poller | None
    limits: ListenerLimits
    trust: Trust
    tls: SSLContext | None
    clock: Clock
    observer: Observer
    statistics: ListenerStatistics
    encoder: ReplyEncoder
    sampler: Sampler
    log: structlog.stdlib.BoundLogger


class Gone(Exception):
    """The client closed, or there is no more to wait for."""


class Unsent(Exception):
    """An answer the peer did not take at once: what is left of it, and whether another may follow."""

    def __init__(self, rest: bytes, keep: bool) -> None:
        super().__init__("the peer is slow")
        self.rest = rest
        self.keep = keep


class Way(Enum):
    """Who has the connection: its task, or the poller, between two requests or in one."""

    TASK = 0
    WAITING = 1
    ANSWERING = 2


class QuickConnection:
    """What both ways share, and the quick one. `deadline` is when the present wait ends."""

    __slots__ = (
        "_draining", "_expired", "_fresh", "_head", "_hung_up", "_left", "_mounted", "_parked", "_parser",
        "_peer", "_phase", "_readable", "_reserved", "_service", "_started", "_stream", "_transport", "_way",
        "deadline",
    )  # fmt: skip

    def __init__(self, service: Service, transport: SocketTransport, peer: str) -> None:
        self._service = service
        self._transport = transport
        self._stream: trio.abc.Stream = transport
        self._peer = peer
        self._parser = RequestParser(service.limits)
        self._phase = "open"
        self._draining = False
        self._expired = False
        self._fresh = True
        self._reserved = 0
        self._way = Way.TASK
        self._parked: trio.lowlevel.Task | None = None
        self._left: Head | Exception | None = None
        self._readable = False
        self._hung_up = False
        self._head: Head
        self._mounted: Mounted
        self._started = 0.0
        self.deadline = monotonic() + service.limits.header_seconds

    def _delivery(self, mounted: Mounted, head: Head, body: bytes, now: float) -> Delivery:
        service = self._service
        return Delivery(
            mounted.route.source,
            head.path.decode("latin-1"),
            head.method,
            head.headers,
            body,
            service.trust.client(self._peer, head.headers),
            service.clock.now(),
            now,
            head.query.decode("latin-1"),
        )

    def _failed(self, mounted: Mounted) -> Reply:
        self._service.log.exception("ingest_answer_failed", source=mounted.route.source)
        return come_back(_DOWN_SECONDS, "this delivery could not be taken; send it again")

    def _encode(self, source: str | None, reply: Reply, head: Head, keep: bool) -> bytes:
        encoder = self._service.encoder
        connection = b"" if keep and head.http_1_1 else (b"keep-alive" if keep else b"close")
        try:
            return encoder.encode(reply, body=head.method != "HEAD", connection=connection)
        except ValueError as error:
            self._service.log.error("ingest_reply_malformed", source=source, error=str(error))
            reply = problem(500, "the answer could not be written")
            return encoder.encode(reply, body=head.method != "HEAD", connection=connection)

    def _count(self, source: str | None, reply: Reply, started: float) -> None:
        self._service.statistics.answers[reply.status] += 1
        self._service.observer.answered(source, reply.status, monotonic() - started)

    async def _be_quick(self) -> Head | None:
        """Let the poller answer plain requests; return when there is another, with its head if it is whole.

        What was read of it is in the parser. Raises `Gone`, `Refused`, or `Unsent` for an answer to finish.
        """
        self._way = Way.WAITING
        self._left = None
        self._read_quickly()  # what came before, or while the task had it
        if self._way is Way.TASK:
            await trio.lowlevel.checkpoint()
        else:
            self._parked = trio.lowlevel.current_task()

            def abort(_: object) -> trio.lowlevel.Abort:
                self._parked = None
                self._way = Way.TASK
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        left = self._left
        if isinstance(left, Exception):
            raise left
        return left

    def _leave(self, left: Head | Exception | None) -> None:
        """Give the connection back to its task, with what it has to go on with."""
        self._way = Way.TASK
        self._left = left
        if self._parked is not None:
            trio.lowlevel.reschedule(self._parked)
            self._parked = None

    def _readable_now(self, gone: bool) -> None:
        self._hung_up = self._hung_up or gone
        if self._way is Way.WAITING:
            self._read_quickly()
        else:
            self._readable = True

    def _read_quickly(self) -> None:
        data = self._transport.receive_now()
        if data is None:
            self._readable = False
            return
        if not data:
            self._leave(Gone())
            return
        # When it gave less than was asked for nothing is left, and the next edge will be told.
        self._readable = self._hung_up or len(data) == READ_BYTES
        parser = self._parser
        parser.feed(data)
        try:
            head = parser.next_head()
        except Refused as refused:
            self._leave(refused)
            return
        mounted = None if head is None else self._service.routes.find(head.path)
        if (
            head is None
            or mounted is None
            or not mounted.up
            or head.method != "POST"
            or head.expect is not None
            or not 0 <= head.length <= min(parser.held, mounted.route.max_body_bytes)
        ):
            self._leave(head)
            return
        body = b""
        if head.length:
            parser.expect_body(head, mounted.route.max_body_bytes)
            body = parser.next_body() or b""
        self._admit_quickly(mounted, head, body)

    def _admit_quickly(self, mounted: Mounted, head: Head, body: bytes) -> None:
        service = self._service
        assert service.take is not None
        self.deadline = math.inf
        self._phase = "answer"
        self._fresh = False
        self._way = Way.ANSWERING
        self._mounted, self._head, self._started = mounted, head, monotonic()
        try:
            delivery = self._delivery(mounted, head, body, self._started)
            reply = service.take(mounted.route, mounted.ctx, delivery, self._told)
        except Exception:
            reply = self._failed(mounted)
        if reply is not None:
            self._told(reply)

    def _told(self, reply: Reply) -> None:
        """Send the answer, and wait for the next request."""
        if self._way is not Way.ANSWERING:
            return  # the listener has given this connection up
        source = self._mounted.route.source
        keep = self._head.keep_alive and not self._draining
        data = self._encode(source, reply, self._head, keep)
        try:
            sent = self._transport.send_now(data)
        except trio.BrokenResourceError as error:
            self._leave(error)
            return
        finally:
            self._count(source, reply, self._started)
        if sent < len(data):
            self._leave(Unsent(data[sent:], keep))
            return
        if not keep:
            self._leave(Gone())
            return
        self.deadline = monotonic() + self._service.limits.idle_seconds
        self._phase = "idle"
        if not self._parser.idle:
            self._leave(None)
            return
        self._way = Way.WAITING
        if self._readable:
            assert self._service.poller is not None
            self._service.poller.call_again(self._transport.socket)
