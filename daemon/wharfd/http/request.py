"""The request as a handler sees it: a frozen value, no framework object and no hidden state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

from ..contracts.access import ANONYMOUS, Identity
from .headers import Headers
from .signing import Signer

_SIGNER = Signer()


class Request(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One request, authenticated, checked and decoded.

    `path` holds the path parameters, `query` the route's query Struct (or a dict of text when it declares
    none), `body` the decoded body, `raw` its bytes. `id` is the request id that stands in the answer, the log
    and every problem; `trace_id` is the caller's W3C trace id when it sent one. `client` is the address of
    the caller, behind trusted proxies the real one.

    A test makes one with the fields it needs: `Request(path={"id": "wh_1"}, body=Endpoint(url="…"))`.
    """

    method: str = "GET"
    url_path: str = "/"
    route: str = "/"
    path: Mapping[str, str] = {}
    query: Any = None
    body: Any = None
    raw: bytes = b""
    headers: Headers = Headers()
    identity: Identity = ANONYMOUS
    id: str = "req_test"
    trace_id: str | None = None
    client: IPv4Address | IPv6Address | None = None
    secure: bool = False
    signer: Signer = _SIGNER
    chunks: AsyncIterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"Request({self.method} {self.route}, id={self.id!r}, subject={self.identity.subject!r})"

    @property
    def owner(self) -> str | None:
        """Whose rows the caller sees; None sees everybody's."""
        return self.identity.owner

    @property
    def last_event_id(self) -> str | None:
        """Where a reconnecting EventSource left off."""
        return self.headers.get("last-event-id")

    async def stream(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece, in constant memory, once.

        Raises a 413 problem when the body grows over the route's limit and a 408 when it stops arriving; let
        them pass.
        """
        if self.chunks is None:
            if self.raw:
                yield self.raw
            return
        async for chunk in self.chunks:
            yield chunk
