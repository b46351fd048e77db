"""No two readings of where a request ends: what a proxy before us might frame otherwise is refused.

h11 accepts what the standard lets a server accept: both framing fields at once, folded lines, lines that end
in a bare LF. Behind a proxy that reads one of them differently, each hides a second request in the first.
"""

from __future__ import annotations

import h11
from h11._receivebuffer import ReceiveBuffer

_FOLD = (0x20, 0x09)


class StrictBuffer(ReceiveBuffer):
    """h11's buffer of what was received, with heads and trailers looked at before h11 reads them."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines up to the first blank one; raises `h11.RemoteProtocolError` for ambiguous ones."""
        before = len(self)
        lines = super().maybe_extract_lines()
        if lines is None:
            return None
        if before - len(self) != sum(len(line) + 2 for line in lines) + 2:
            raise h11.RemoteProtocolError("a line ends in a bare LF")
        if any(line[:1] and line[0] in _FOLD for line in lines):
            raise h11.RemoteProtocolError("a header is folded")
        names = {bytes(line.partition(b":")[0]).lower() for line in lines}
        if {b"content-length", b"transfer-encoding"} <= names:
            raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        return lines


def make_strict(connection: h11.Connection) -> None:
    """Let a fresh connection refuse ambiguous framing."""
    connection._receive_buffer = StrictBuffer()
