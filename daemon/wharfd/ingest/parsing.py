"""Reads HTTP/1.0 and HTTP/1.1 requests out of a byte stream, without doing any I/O.

A head is taken only when its raw bytes fit our own grammar, which is stricter than the standard asks for and
does not change with a library's version, *and* llhttp (through httptools) reads it without complaint. So what
wharfd takes for one request, every careful proxy in front of it takes for the same one request.
Bodies are framed here as well, so a parser that has gone astray can never eat into the next request.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from .chunks import ChunkedBody
from .limits import ListenerLimits
from .refusing import Refused

# Possessive quantifiers: no input makes this backtrack.
_HEAD = re.compile(
    rb"[!#-'*+.^_`|~0-9A-Za-z-]{1,32} [!\"$-~]++ HTTP/1\.[01]\r\n"
    rb"(?:[!#-'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+"
    rb"\r\n"
)
_REQUEST_LINE = re.compile(rb"[^ \r\n]+ ([^ \r\n]+) HTTP/(\d)\.\d\r\n")
_HOPELESS = re.compile(
    rb"[^\r]\n|\A\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)  # bare LF or CR, control bytes
_ABSOLUTE = re.compile(rb"(?i:https?)://[^/?@]+(/[^?]*)?(\?.*)?")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")

_CHUNKED = -1
_BLANK_LINES = 2  # some senders end a body with a CRLF of their own; RFC 9112 section 2.2 says to skip it


class Head(NamedTuple):
    """A request line with its headers. `length` is -1 for a chunked body."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    length: int
    keep_alive: bool
    http_1_1: bool
    expect: bytes | None

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow, now or after a 100."""
        return self.length != 0


class _Collector:
    """What llhttp found: it calls these while it is fed."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b" \t")))


class RequestParser:
    """Takes bytes with `feed`, gives heads and bodies in turn: `next_head`, `next_body`, `next_head` …

    Both return None while bytes are missing and raise `Refused` for what is not taken; the parser is of no
    use after that. How the bytes were cut into pieces changes nothing.
    """

    __slots__ = ("_blank", "_buffer", "_chunked", "_held", "_limits", "_missing", "_pieces", "_searched")

    def __init__(self, limits: ListenerLimits) -> None:
        self._limits = limits
        self._buffer = b""
        self._searched = 0
        self._blank = 0
        self._missing = 0
        self._held = 0
        self._pieces: list[bytes] = []
        self._chunked: ChunkedBody | None = None

    @property
    def idle(self) -> bool:
        """Whether no byte of a further request is held."""
        return not self._buffer

    @property
    def held(self) -> int:
        """How many bytes are held that no head or body was made of yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer = self._buffer + data if self._buffer else data

    def next_head(self) -> Head | None:
        """Return the next head, or None while it is incomplete."""
        buffer = self._buffer
        while self._blank < _BLANK_LINES and buffer.startswith(b"\r\n"):
            self._blank += 1
            buffer = self._buffer = buffer[2:]
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            self._check_unfinished(buffer)
            return None
        self._searched = self._blank = 0
        raw, self._buffer = buffer[: end + 4], buffer[end + 4 :]
        return _read_head(raw, self._limits)

    def expect_body(self, head: Head, limit: int) -> None:
        """Say that the body of this head comes next. Raises `Refused` (413) if it announces too much."""
        if head.length == _CHUNKED:
            self._chunked = ChunkedBody(
                body_bytes=limit,
                extension_bytes=self._limits.chunk_extension_bytes,
                trailer_bytes=self._limits.header_bytes,
            )
        elif head.length > limit:
            raise Refused(413, f"the body is larger than the {limit} bytes taken here")
        self._missing = max(0, head.length)

    def next_body(self) -> bytes | None:
        """Return the body that `expect_body` announced, or None while it is incomplete."""
        buffer = self._buffer
        if self._chunked is not None:
            self._buffer = b""
            finished = self._chunked.feed(buffer)
            if finished is None:
                return None
            self._chunked = None
            body, self._buffer = finished
            return body
        if len(buffer) < self._missing:
            if buffer:
                self._pieces.append(buffer)
                self._missing -= len(buffer)
                self._held += len(buffer)
                self._buffer = b""
            return None
        body, self._buffer = buffer[: self._missing], buffer[self._missing :]
        self._missing = 0
        if self._pieces:
            body = b"".join((*self._pieces, body))
            self._pieces = []
            self._held = 0
        return body

    @property
    def body_held(self) -> int:
        """How many bytes of the unfinished body are in memory."""
        return self._held if self._chunked is None else self._chunked.held

    def _check_unfinished(self, buffer: bytes) -> None:
        """Refuse what can no longer become a head that is taken."""
        if len(buffer) > self._limits.header_bytes + self._limits.target_bytes:
            if b"\r\n" not in buffer[: self._limits.target_bytes + 64]:
                raise Refused(414, f"the target is longer than {self._limits.target_bytes} bytes")
            raise Refused(431, f"the headers are larger than {self._limits.header_bytes} bytes")
        if _HOPELESS.search(buffer) is not None:
            raise Refused(400, "malformed headers")


def _read_head(raw: bytes, limits: ListenerLimits) -> Head:
    line_end = raw.find(b"\r\n")
    if line_end > limits.target_bytes + 64:
        raise Refused(414, f"the target is longer than {limits.target_bytes} bytes")
    if len(raw) - line_end - 4 > limits.header_bytes:
        raise Refused(431, f"the headers are larger than {limits.header_bytes} bytes")
    if _HEAD.fullmatch(raw) is None:
        raise _malformed(raw)
    found = _Collector()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or an Upgrade we do not follow: answered like any other request
    except httptools.HttpParserInvalidMethodError:
        raise Refused(501, "the method is not known here") from None
    except httptools.HttpParserError as error:
        raise Refused(400, f"malformed request: {error}") from None
    if len(found.headers) > limits.header_count:
        raise Refused(431, f"there are more than {limits.header_count} headers")
    method: bytes = parser.get_method()
    http_1_1 = raw[line_end - 1] == 0x31
    path, query = _split_target(found.target, limits)
    length, keep_alive, expect = _read_framing(found.headers, http_1_1)
    return Head(method.decode(), path, query, found.headers, length, keep_alive, http_1_1, expect)


def _read_framing(headers: list[tuple[bytes, bytes]], http_1_1: bool) -> tuple[int, bool, bytes | None]:
    """Return (length of the body, whether to keep the connection, expectation).

    Raises `Refused` for whatever two readers could differ on.
    """
    length: int | None = None
    options: list[bytes] = []
    chunked = False
    hosts = 0
    expect = None
    for name, value in headers:
        match name.lower():
            case b"content-length":
                if length is not None or _LENGTH.fullmatch(value) is None:
                    raise Refused(400, "Content-Length must be one plain number, given once")
                length = int(value)
            case b"transfer-encoding":
                if chunked or not http_1_1:
                    raise Refused(400, "Transfer-Encoding must be given once, in HTTP/1.1")
                if value.lower() != b"chunked":
                    raise Refused(501, "the only Transfer-Encoding taken here is chunked")
                chunked = True
            case b"host":
                hosts += 1
                if _HOST.fullmatch(value) is None:
                    raise Refused(400, "the Host header is malformed")
            case b"connection":
                options += [option.strip() for option in value.lower().split(b",")]
            case b"expect":
                expect = value.lower() if http_1_1 else None  # RFC 9110 section 10.1.1: not for 1.0
    if chunked and length is not None:
        raise Refused(400, "Content-Length and Transfer-Encoding exclude each other")
    if hosts > 1 or (http_1_1 and not hosts):
        raise Refused(400, "an HTTP/1.1 request has exactly one Host header")
    keep_alive = b"close" not in options and (http_1_1 or b"keep-alive" in options)
    return (_CHUNKED if chunked else length or 0), keep_alive, expect


def _split_target(target: bytes, limits: ListenerLimits) -> tuple[bytes, bytes]:
    if len(target) > limits.target_bytes:
        raise Refused(414, f"the target is longer than {limits.target_bytes} bytes")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query
    if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        return absolute[1] or b"/", (absolute[2] or b"")[1:]
    if target == b"*":
        return target, b""
    raise Refused(400, "the target must be a path or an http address")


def _malformed(raw: bytes) -> Refused:
    line = _REQUEST_LINE.match(raw)
    if line is not None and line[2] != b"1":
        return Refused(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    return Refused(400, "malformed request line" if line is None else "malformed headers")
