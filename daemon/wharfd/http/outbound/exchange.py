"""One request and its answer over one link: HTTP/1.1, parsed by httptools, capped in every direction."""

from __future__ import annotations

import httptools
import trio

from ...errors import AnswerBroken, AnswerHeadTooLarge, ConnectionLost
from .answer import Progress
from .link import Link

_READ = 65536
_COALESCED = 65536  # head and body up to this size leave in one packet train and one TLS record


class AnswerReader:
    """Collects one answer from httptools' callbacks; informational answers before it are passed over."""

    def __init__(self, max_body: int, *, headless: bool) -> None:
        self._max_body = max_body
        self._headless = headless  # the answer to HEAD has no body, whatever its headers say
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        self.body_seen = 0
        self.head_done = False
        self.complete = False
        self.trailing = False
        self.keep_alive = False
        self.status = 0
        self._framed = False
        self.parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes; raises `AnswerBroken` when they are no HTTP/1.x answer."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise AnswerBroken("the answer switches protocols, which was not asked for") from None
        except httptools.HttpParserError as exc:
            if not self.complete:
                raise AnswerBroken(f"the answer is not HTTP: {exc}") from exc
            self.trailing = True
        if self.head_done and self.version not in ("1.0", "1.1"):
            raise AnswerBroken(f"the answer is HTTP/{self.version}, which was not asked for")

    def end(self) -> bool:
        """Take the end of the stream; say whether it completes the answer."""
        if self.head_done and not self._framed:
            self.complete = True
        return self.complete

    @property
    def truncated(self) -> bool:
        """Whether the body is longer than what is kept."""
        return self.body_seen > self._max_body

    @property
    def version(self) -> str:
        """The protocol version of the answer."""
        return str(self.parser.get_http_version())

    # httptools calls the rest.

    def on_message_begin(self) -> None:
        """Notice bytes after the end of the answer."""
        if self.complete:
            self.trailing = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the head; trailers are dropped."""
        if self.head_done:
            return  # a trailer, or bytes after the end
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Take note of the status, or pass over an informational answer."""
        if self.complete:
            return
        status = self.parser.get_status_code()
        if status < 200:
            self.headers.clear()
            self._framed = False
            return
        self.status = status
        self.head_done = True
        self._framed = self._framed or status in (204, 304)
        self.complete = self._headless

    def on_body(self, data: bytes) -> None:
        """Keep what fits."""
        if self.complete:
            return
        room = self._max_body - len(self.body)
        self.body_seen += len(data)
        self.body += data if len(data) <= room else data[:room]

    def on_message_complete(self) -> None:
        """Decide whether the connection may be used again."""
        if self.head_done and not self.complete:
            self.complete = True
            self.keep_alive = self._framed and self.parser.should_keep_alive()


async def exchange(
    link: Link,
    head: bytes,
    body: bytes,
    *,
    headless: bool,
    max_body: int,
    max_head: int,
    progress: Progress,
) -> AnswerReader:
    """Send a request and read its answer; `link.reusable` says afterwards whether another may follow.

    Raises: ConnectionLost, AnswerBroken, AnswerHeadTooLarge, each with what was sent.
    """
    link.reusable = False
    start = trio.current_time()
    await _send(link, head, body, progress)
    progress.phase = "first_byte"
    reader = AnswerReader(max_body, headless=headless)
    try:
        await _receive(link, reader, max_head, progress, start)
    except (AnswerBroken, AnswerHeadTooLarge) as exc:
        exc.request_sent, exc.phase, exc.status = progress.sent, progress.phase, progress.status
        raise
    link.reusable = reader.keep_alive and not reader.trailing and progress.sent == "all"
    return reader


async def _send(link: Link, head: bytes, body: bytes, progress: Progress) -> None:
    progress.phase = "send"
    progress.sent = "none"
    before = link.wire.accepted
    pieces = [head + body] if len(body) <= _COALESCED else [head, body]
    try:
        for piece in pieces:
            await link.stream.send_all(piece)
        progress.sent = "all"
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        if link.wire.accepted == before:
            raise ConnectionLost("the connection was closed before the request", phase="send") from exc
        # A server may refuse a request it has not read to the end: its answer may be waiting.
    finally:
        if progress.sent == "none" and link.wire.accepted > before:
            progress.sent = "some"


async def _receive(link: Link, reader: AnswerReader, max_head: int, progress: Progress, start: float) -> None:
    read = 0
    while not (reader.complete or reader.truncated):
        room = _READ if reader.head_done else min(_READ, max_head - read)
        if room <= 0:
            raise AnswerHeadTooLarge(f"the head of the answer is larger than {max_head} bytes")
        try:
            data = await link.stream.receive_some(room)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _lost(progress) from exc
        if not read:
            progress.first_byte = trio.current_time() - start
        read += len(data)
        if not data:
            if reader.end():
                return
            raise _lost(progress)
        reader.feed(data)
        if reader.head_done:
            progress.status = reader.status
            progress.phase = "body"
            # chunk headers, extensions and trailers are no body, and just as bottomless
            if read - reader.body_seen > max_head + 8 * reader.body_seen:
                raise AnswerBroken("the answer has more framing than body")


def _lost(progress: Progress) -> ConnectionLost:
    when = "before an answer" if progress.status is None else "in the middle of the answer"
    return ConnectionLost(
        f"the connection was lost {when}",
        request_sent=progress.sent,
        status=progress.status,
        phase=progress.phase,
    )
