"""What is known about a request while it is being answered; handlers see a `Request` instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .authentication import NOBODY, Caller
from .body import BodySource
from .clients import Address, TrustedProxies
from .headers import Headers
from .identifiers import request_id_of, trace_id_of

if TYPE_CHECKING:
    from .endpoint import Endpoint


class Arrival:
    """One request on its way through the pipeline; the pipeline fills in what it finds out."""

    __slots__ = (
        "allowed", "body", "caller", "client", "endpoint", "fields", "headers", "method", "parameters",
        "query", "raw_path", "request_id", "secure", "started", "trace_id",
    )  # fmt: skip

    def __init__(
        self, scope: Mapping[str, Any], receive: Any, proxies: TrustedProxies, timeout: float
    ) -> None:
        self.started = perf_counter()
        self.method: str = scope["method"]
        self.raw_path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.headers = Headers(scope["headers"])
        peer = scope.get("client")
        self.client: Address | None
        self.client, self.secure = proxies.resolve(peer[0] if peer else None, scope["scheme"], self.headers)
        self.request_id = request_id_of(self.headers.get("x-request-id"))
        self.trace_id = trace_id_of(self.headers.get("traceparent"))
        self.body = BodySource(receive, self.headers, timeout_seconds=timeout)
        self.endpoint: Endpoint | None = None
        self.parameters: Mapping[str, str] = {}
        self.allowed: Sequence[str] = ()
        self.caller: Caller = NOBODY
        self.fields: dict[str, str] = {}

    @property
    def target(self) -> str:
        """The path and query as they came in; for signatures, never for logs."""
        return self.raw_path + (f"?{self.query.decode('latin-1')}" if self.query else "")
