"""What `[http]` may hold, as the server wants it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """How the API server listens and behaves. Times are in seconds."""

    bind: tuple[str, ...] = ("127.0.0.1:8470",)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    open_metrics: bool = False
    open_docs: bool = False
    access_log: Literal["off", "debug", "info"] = "debug"
    session_seconds: int = 12 * 3600
    max_connections: int = 1000
    idle_timeout_seconds: float = 15.0
    body_timeout_seconds: float = 30.0
    write_timeout_seconds: float = 30.0
    drain_seconds: float = 10.0
