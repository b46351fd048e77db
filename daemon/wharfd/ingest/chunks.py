"""Decodes a chunked request body, strictly, without doing any I/O.

Lenient readers disagree on where a chunk ends, and that is how requests are smuggled; whatever is not the
plain grammar of RFC 9112 section 7.1 is refused. Trailers are checked and dropped.
"""

from __future__ import annotations

import re

from .refusing import Refused

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+")
_SIZE_LINE_BYTES = 1024

# Legitimate senders chunk by kilobytes. Millions of one-byte chunks only cost us time.
_FREE_CHUNKS = 256
_MEAN_CHUNK_BYTES = 16


class ChunkedBody:
    """Takes raw bytes, gives the decoded body. Decoded bytes, extensions and trailers are bounded."""

    __slots__ = (
        "_chunks",
        "_extensions",
        "_left",
        "_pieces",
        "_raw",
        "_size",
        "_state",
        "_trailers",
        "limits",
    )

    def __init__(self, *, body_bytes: int, extension_bytes: int, trailer_bytes: int) -> None:
        self.limits = (body_bytes, extension_bytes, trailer_bytes)
        self._raw = bytearray()
        self._pieces: list[bytes] = []
        self._size = 0
        self._left = 0
        self._chunks = 0
        self._extensions = 0
        self._trailers = 0
        self._state = self._size_line

    @property
    def held(self) -> int:
        """How many decoded bytes are in memory."""
        return self._size - self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; return (body, bytes after it) once the last chunk and its trailers are complete.

        Raises `Refused` with 413 for a body over the limit and 400 for anything malformed.
        """
        self._raw += data
        position = 0
        while True:
            following = self._state(position)
            if following is None:
                del self._raw[:position]
                return None
            position = following
            if self._state == self._done:
                return b"".join(self._pieces), bytes(self._raw[position:])

    def _line(self, position: int, at_most: int, what: str) -> bytes | None:
        end = self._raw.find(b"\r\n", position)
        length = (end if end >= 0 else len(self._raw)) - position
        if length > at_most + (end < 0):  # an unfinished line may end in the CR of its CRLF
            raise Refused(400, f"{what} is too long")
        return bytes(self._raw[position:end]) if end >= 0 else None

    def _size_line(self, position: int) -> int | None:
        line = self._line(position, _SIZE_LINE_BYTES, "the size line of a chunk")
        if line is None:
            return None
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Refused(400, "the size line of a chunk is malformed")
        self._extensions += len(match[2])
        self._chunks += 1
        self._left = int(match[1], 16)
        self._size += self._left
        if self._extensions > self.limits[1]:
            raise Refused(400, "the chunk extensions are too long")
        if self._size > self.limits[0]:
            raise Refused(413, f"the body is larger than the {self.limits[0]} bytes taken here")
        if self._chunks > _FREE_CHUNKS and self._chunks * _MEAN_CHUNK_BYTES > self._size:
            raise Refused(400, "the body comes in too many tiny chunks")
        self._state = self._data if self._left else self._trailer
        return position + len(line) + 2

    def _data(self, position: int) -> int | None:
        piece = bytes(self._raw[position : position + self._left])
        self._left -= len(piece)
        if piece:
            self._pieces.append(piece)
        elif self._left:
            return None
        if self._left == 0:
            self._state = self._data_end
        return position + len(piece)

    def _data_end(self, position: int) -> int | None:
        end = bytes(self._raw[position : position + 2])
        if not b"\r\n".startswith(end):
            raise Refused(400, "a chunk is longer than its size line says")
        if len(end) < 2:
            return None
        self._state = self._size_line
        return position + 2

    def _trailer(self, position: int) -> int | None:
        line = self._line(position, self.limits[2], "a trailer")
        if line is None:
            return None
        self._trailers += len(line) + 2
        if self._trailers > self.limits[2]:
            raise Refused(431, "the trailers are too large")
        if not line:
            self._state = self._done
        elif _TRAILER.fullmatch(line) is None:
            raise Refused(400, "a trailer is malformed")
        return position + len(line) + 2

    def _done(self, position: int) -> int | None:
        raise AssertionError("nothing is read after the end of a body")
