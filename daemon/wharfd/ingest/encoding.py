"""Turns a `Reply` into the bytes of an HTTP/1.1 answer."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from http import HTTPStatus

from .message import Reply

_FIELD = re.compile(r"[!#-'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset({"content-length", "transfer-encoding", "connection", "date", "content-type"})
_PREFIXES = 512

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ReplyEncoder:
    """Encodes replies; remembers what does not change from one to the next."""

    __slots__ = ("_date", "_date_until", "_prefixes")

    def __init__(self) -> None:
        self._prefixes: dict[tuple[int, str], bytes] = {}
        self._date = b""
        self._date_until = 0.0

    def encode(self, reply: Reply, *, body: bool = True, connection: bytes = b"") -> bytes:
        """Return the answer's bytes; without `body` as for HEAD. `connection` is the Connection option.

        Raises `ValueError` for a reply that would not be one well-formed answer.
        """
        prefix = self._prefixes.get((reply.status, reply.content_type))
        if prefix is None:
            prefix = self._prefix(reply)
        now = time.monotonic()
        if now >= self._date_until:
            self._date = formatdate(usegmt=True).encode()
            self._date_until = now + 0.5
        extra = b"".join([_field(name, value) for name, value in reply.headers]) if reply.headers else b""
        if connection:
            extra += b"Connection: %b\r\n" % connection
        if reply.status == 204:
            return b"%bDate: %b\r\n%b\r\n" % (prefix, self._date, extra)
        content = reply.body if body else b""
        return b"%bDate: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
            prefix,
            self._date,
            len(reply.body),
            extra,
            content,
        )

    def _prefix(self, reply: Reply) -> bytes:
        if not 200 <= reply.status <= 599 or reply.status in (205, 304):
            raise ValueError(f"a reply cannot have status {reply.status}; use 200 to 599, not 205 or 304")
        if reply.status == 204 and reply.body:
            raise ValueError("a reply with status 204 cannot have a body; use 200 or leave the body empty")
        try:
            phrase = HTTPStatus(reply.status).phrase
        except ValueError:
            phrase = ""
        prefix = f"HTTP/1.1 {reply.status} {phrase}\r\n".encode()
        prefix += _checked(f"Content-Type: {reply.content_type}") if reply.content_type else b""
        if len(self._prefixes) >= _PREFIXES:
            self._prefixes.clear()
        self._prefixes[reply.status, reply.content_type] = prefix
        return prefix


def _field(name: str, value: str) -> bytes:
    if name.lower() in _OURS:
        raise ValueError(f"the header {name!r} is set by the listener; leave it out of the reply")
    return _checked(f"{name}: {value}")


def _checked(line: str) -> bytes:
    if _FIELD.fullmatch(line) is None:
        raise ValueError(f"{line!r} is not a well-formed header line")
    return line.encode("latin-1") + b"\r\n"
