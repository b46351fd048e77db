"""Where log lines go besides the journal: a stream whose lines are dropped and counted, never waited for."""

from __future__ import annotations

import io
import os
import select
import threading
from typing import Protocol, TextIO

# A pipe with room for one write of this size takes it whole (PIPE_BUF on Linux).
_CHUNK_BYTES = 4096
# Long enough for a reader that is only busy, short enough for the loop that waits.
_PATIENCE_MS = 20


class Output(Protocol):
    """Takes finished log lines. Never raises and never waits long; what it cannot take it counts."""

    dropped: int

    def write(self, line: bytes) -> None:
        """Hand on one line."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class StreamOutput:
    """Writes lines to a stream. When its reader has stopped reading, lines are dropped and counted."""

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        self._stream = stream
        self._lock = threading.Lock()
        self._stuck = False
        self._torn = False
        self._poll = select.poll()
        try:
            self._descriptor: int | None = stream.fileno()
        except (io.UnsupportedOperation, AttributeError, ValueError):
            self._descriptor = None  # an in-memory stream
        else:
            stream.flush()
            self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Write the line and a newline."""
        with self._lock:
            try:
                if self._descriptor is None:
                    self._stream.write(line.decode("utf-8", "replace") + "\n")
                else:
                    # A line that was cut off before must not swallow the start of this one.
                    self._put(self._descriptor, (b"\n" if self._torn else b"") + line + b"\n")
            except (OSError, ValueError):
                # Closed or broken. There is no better place to complain than the one that failed.
                self.dropped += 1

    def close(self) -> None:
        """Leave the stream open: it belongs to whoever opened it."""

    def _put(self, descriptor: int, raw: bytes) -> None:
        view = memoryview(raw)
        while view:
            if not self._poll.poll(0 if self._stuck else _PATIENCE_MS):
                self._stuck = True
                self._torn = self._torn or len(view) < len(raw)
                self.dropped += 1
                return
            self._stuck = False
            view = view[os.write(descriptor, view[:_CHUNK_BYTES]) :]
        self._torn = False
