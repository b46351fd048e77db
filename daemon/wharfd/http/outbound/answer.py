"""What comes back from an outbound request, and the notes taken while it is under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Sent = Literal["none", "some", "all"]


@dataclass(frozen=True)
class Timings:
    """Seconds spent; `dns`, `connect` and `tls` are 0 on a connection that was already open.

    `first_byte` counts from the start of sending to the first byte of the answer, `total` from the call.
    """

    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class OutboundResponse:
    """An answer as it came: any status is an answer, redirects are not followed, nothing is decompressed.

    `truncated` says that the body was longer than `max_response_bytes` and ends there.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    truncated: bool
    http_version: str
    peer: tuple[str, int]
    timings: Timings
    request_sent: Sent = "all"
    reused: bool = False

    def header(self, name: str) -> str | None:
        """Return the first header of this name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def text(self) -> str:
        """Return the body for people to read: UTF-8 with what is not replaced, without NUL characters."""
        return self.body.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


@dataclass
class Progress:
    """How far a request has come; an error takes `phase` and `sent` from here."""

    phase: str = "queue"
    sent: Sent = "none"
    status: int | None = None
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    reused: bool = False
    peer: tuple[str, int] = field(default=("", 0))
