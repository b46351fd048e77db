"""One connection of a provider: reads requests one after the other, has each answered, sends the answers.

A request that was read completely is always carried to its answer, whether or not the client still listens.
Deadlines are plain numbers that the listener's sweep looks at; a wait that is over is woken, not cancelled.

There are two ways through here. A task per connection can do everything. While requests are of the plain kind
(one whole POST for a route that is up) the task sleeps, and what the poller calls does all: read, admit, and
later, when the commit tells, send. That saves two task switches and the registrations of trio per request,
about as much as everything else costs. Whatever is not plain is left to the task.
"""

from __future__ import annotations

import math
from time import monotonic

import trio

from .encoding import CONTINUE
from .message import Reply, come_back, problem
from .parsing import Head
from .proxy import read_proxy_header
from .quick import Gone, QuickConnection, Unsent, Way
from .refusing import Refused
from .routes import Mounted
from .transport import Woken

_DOWN_SECONDS = 5.0
_FRESH_SECONDS = 0.5


_NOTHING_HERE = problem(404, "there is no ingest route at this path")


class Connection(QuickConnection):
    """Serves one client. `deadline` is when the present wait ends, infinite while a request is answered."""

    __slots__ = ()

    @property
    def peer(self) -> str:
        """The client's address as far as the connection itself tells."""
        return self._peer

    @property
    def idle(self) -> bool:
        """Whether it waits for a request of which no byte has come."""
        return self._phase == "idle"

    @property
    def answering(self) -> bool:
        """Whether a complete request is being answered."""
        return self._phase == "answer"

    def expire(self) -> None:
        """End the present wait: an idle connection is closed, a half-sent request answered 408."""
        self.deadline = math.inf
        self._expired = True
        self._wake()

    def drain(self) -> None:
        """Close after the request at hand; at once if there is none, not even in the socket's buffer.

        Whoever has only just connected is given a moment to send what it came for.
        """
        self._draining = True
        if self._fresh:
            self.deadline = min(self.deadline, monotonic() + _FRESH_SECONDS)
        elif self.idle:
            self._wake()

    def _wake(self) -> None:
        if self._way is Way.TASK:
            self._transport.wake()
        elif self._way is Way.WAITING:
            self._read_quickly()  # it looks once more, as the task does
            if self._way is Way.WAITING:
                self._leave(Gone())

    async def open(self) -> None:
        """Read the PROXY header and shake hands, as configured. Raises `Refused` or `Gone`."""
        service = self._service
        self.deadline = math.inf
        if service.trust.proxy_protocol:
            if not service.trust.trusts(self._peer):
                raise Refused(400, "the peer is not among the trusted networks")
            with trio.move_on_after(service.limits.handshake_seconds) as scope:
                self._peer = await self._read_proxy_header() or self._peer
            if scope.cancelled_caught:
                raise Gone
        if service.tls is not None:
            stream = trio.SSLStream(self._transport, service.tls, server_side=True, https_compatible=True)
            try:
                with trio.move_on_after(service.limits.handshake_seconds) as scope:
                    await stream.do_handshake()
            except (trio.BrokenResourceError, Woken) as error:
                raise Gone from error
            if scope.cancelled_caught:
                raise Gone
            self._stream = stream
        self.deadline = monotonic() + service.limits.header_seconds

    async def serve(self) -> None:
        """Answer requests until either side ends it. The caller closes the socket."""
        poller = self._service.poller if self._stream is self._transport else None
        try:
            if poller is not None:
                poller.watch(self._transport.socket, self._readable_now)
            while await self._serve_one(quick=poller is not None):
                self.deadline = monotonic() + self._service.limits.idle_seconds
        except (Gone, trio.BrokenResourceError):
            return
        except Refused as refused:
            await self._refuse(refused)
        finally:
            if poller is not None:
                poller.forget(self._transport.socket)
            self._release()

    async def _serve_one(self, *, quick: bool) -> bool:
        """Answer the next request; return whether another may follow."""
        parser = self._parser
        self._phase = "idle"
        head = None
        if quick and parser.idle:
            try:
                head = await self._be_quick()
            except Unsent as unsent:
                await self._stream.send_all(unsent.rest)
                return unsent.keep
        if head is None and not parser.idle:
            head = parser.next_head()
        while head is None:
            await self._read("idle" if parser.idle else "head")
            head = parser.next_head()
        mounted = self._service.routes.find(head.path)
        early = self._answer_early(mounted, head)
        unread = early is not None and head.has_body
        body = await self._read_body(mounted, head) if mounted and head.has_body and not unread else b""
        self.deadline = math.inf
        self._phase = "answer"
        self._fresh = False
        started = monotonic()
        if mounted is None or early is not None:
            reply = early or _NOTHING_HERE
        else:
            reply = await self._have_answered(mounted, head, body, started)
            self._release()
        keep = head.keep_alive and not unread and not self._draining
        await self._send(mounted, reply, head, keep=keep, started=started)
        if unread:
            await self._transport.linger()
        return keep

    def _answer_early(self, mounted: Mounted | None, head: Head) -> Reply | None:
        """Return the answer that needs no body: nothing here, not this way, not now."""
        if head.expect is not None and head.expect != b"100-continue":
            return problem(417, "the only expectation met here is 100-continue")
        if mounted is None:
            return _NOTHING_HERE
        if head.method != "POST" and (mounted.route.answer is None or head.method not in ("GET", "HEAD")):
            return problem(405, f"use {mounted.allow} here", ("Allow", mounted.allow))
        if not mounted.up:
            return come_back(_DOWN_SECONDS, "this route is down at the moment; send it again")
        return None

    async def _read_body(self, mounted: Mounted, head: Head) -> bytes:
        parser = self._parser
        parser.expect_body(head, mounted.route.max_body_bytes)
        if head.expect is not None and parser.idle:
            await self._stream.send_all(CONTINUE)
        self._phase = "body"
        self.deadline = monotonic() + self._service.limits.body_seconds
        while (body := parser.next_body()) is None:
            self._reserve(parser.body_held)
            await self._read("body")
        return body

    async def _have_answered(self, mounted: Mounted, head: Head, body: bytes, now: float) -> Reply:
        try:
            delivery = self._delivery(mounted, head, body, now)
            return await self._service.answer(mounted.route, mounted.ctx, delivery)
        except Exception:
            return self._failed(mounted)

    async def _read(self, phase: str) -> None:
        """Feed the parser; raise `Gone` when the client has finished, `Refused` (408) when it is too slow."""
        if phase == "head" and self._phase == "idle":
            self.deadline = monotonic() + self._service.limits.header_seconds
        self._phase = phase
        try:
            data = await self._stream.receive_some()
        except Woken:
            if self._expired and phase != "idle":
                raise Refused(408, "the request took too long to arrive") from None
            raise Gone from None
        if not data:
            raise Gone
        self._parser.feed(bytes(data))

    async def _send(
        self, mounted: Mounted | None, reply: Reply, head: Head, *, keep: bool, started: float
    ) -> None:
        source = None if mounted is None else mounted.route.source
        data = self._encode(source, reply, head, keep)
        try:
            await self._stream.send_all(data)
        finally:
            self._count(source, reply, started)

    async def _refuse(self, refused: Refused) -> None:
        """Answer a request that is refused for its form; its bytes are not to be trusted any further."""
        service = self._service
        service.statistics.malformed[refused.status] += 1
        service.observer.malformed(refused.status)
        suppressed = service.sampler.suppressed(f"{refused.status} {refused.reason}")
        if suppressed is not None:
            service.log.info(
                "ingest_request_refused",
                status=refused.status,
                reason=refused.reason,
                peer=self._peer,
                suppressed=suppressed,
            )
        self.deadline = math.inf
        headers = (("Retry-After", "1"),) if refused.status == 503 else ()
        reply = problem(refused.status, refused.reason, *headers)
        try:
            await self._stream.send_all(service.encoder.encode(reply, connection=b"close"))
        except trio.BrokenResourceError:
            return
        await self._transport.linger()

    async def _read_proxy_header(self) -> str | None:
        held = b""
        while True:
            seen = await self._transport.peek()
            if not seen:
                raise Gone
            found = read_proxy_header(held + seen)
            if found is not None:
                client, length = found
                self._transport.take(length - len(held))
                return client
            self._transport.take(len(seen))
            held += seen

    def _reserve(self, size: int) -> None:
        """Book memory for the body at hand; raise `Refused` (503) if all of them together hold too much."""
        statistics = self._service.statistics
        statistics.buffered_bytes += size - self._reserved
        self._reserved = size
        if statistics.buffered_bytes > self._service.limits.buffered_bytes:
            raise Refused(503, "too many large requests at once; send it again")

    def _release(self) -> None:
        self._service.statistics.buffered_bytes -= self._reserved
        self._reserved = 0
