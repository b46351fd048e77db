"""What the listener puts up with: sizes, counts and times, each with the answer given beyond it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ListenerLimits:
    """Bounds of the ingest listener. The size of a body is bounded by each route (`max_body_bytes`, 413).

    Too long a target is 414, too many or too big headers 431, too slow 408, everything about connections and
    memory 503. `per_client` counts an IPv6 client by its /64 and does not count trusted proxies.
    `buffered_bytes` bounds the bodies held in memory over all connections.
    """

    connections: int = 4096
    per_client: int = 256
    target_bytes: int = 4096
    header_bytes: int = 16_384
    header_count: int = 100
    chunk_extension_bytes: int = 4096
    buffered_bytes: int = 64 << 20
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    write_seconds: float = 10.0
    handshake_seconds: float = 10.0
    drain_seconds: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(
                    f"ingest limit {field.name} is {getattr(self, field.name)!r}; it must be above 0"
                )
