"""What travels through ingest: a `Delivery` comes in, a `Reply` goes out.

Here are only the two values and the ready-made replies of the core. Parsing lies in `parsing`, sending in
`connection`; what a provider's reply says is the plugin's business.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import msgspec

_NEVER_SHOWN = frozenset({b"authorization", b"proxy-authorization", b"cookie"})


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One request of a provider, complete and verbatim, on its way to a route's `admit`.

    `headers` are the raw pairs in the order they came; `body` holds the exact bytes to verify. `client` is
    the address of whoever sent it, behind the proxies that are trusted. `received_at` is the wall clock in
    UTC and `received_monotonic` the monotonic clock of this process, both read once the last byte was there.
    `trailers` of a chunked body are not kept. `method` is POST, GET or HEAD.
    """

    source: str
    path: str
    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: str
    received_at: datetime
    received_monotonic: float
    query: str = ""

    def header(self, name: str) -> str | None:
        """Return the value of a header, whatever its case, or None.

        A header sent several times comes joined with `, `; bytes outside ASCII are read as Latin-1.
        """
        values = self.header_values(name)
        return b", ".join(values).decode("latin-1") if values else None

    def header_values(self, name: str) -> list[bytes]:
        """Return every value of a header in the order they came, as raw bytes."""
        wanted = name.lower().encode("latin-1")
        return [value for key, value in self.headers if key.lower() == wanted]

    def kept_headers(self) -> list[tuple[str, str]]:
        """Return the headers as text without credentials: what may be stored beside the body."""
        return [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self.headers
            if name.lower() not in _NEVER_SHOWN
        ]

    def __repr__(self) -> str:
        return (
            f"Delivery({self.method} {self.path!r} for {self.source!r}"
            f" from {self.client}, {len(self.body)} bytes)"
        )


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What the provider is answered. Length, date and connection headers are the listener's business."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class _Problem(msgspec.Struct):
    title: str
    status: int
    detail: str
    type: str = "about:blank"


def problem(status: int, detail: str, *headers: tuple[str, str]) -> Reply:
    """Make a refusal as RFC 9457 problem+json; `detail` is a sentence the caller can act on."""
    body = msgspec.json.encode(_Problem(HTTPStatus(status).phrase, status, detail))
    return Reply(status, body, "application/problem+json", headers)


def come_back(seconds: float, detail: str) -> Reply:
    """Make a 503 that asks to be sent the same again after `seconds`; nothing was acknowledged."""
    return problem(503, detail, ("Retry-After", str(max(1, round(seconds)))))
