"""Ingest paths on the API server: the raw request goes to the same code the ingest listener calls."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .clients import Address
from .endpoint import IngestMount
from .headers import checked_fields
from .reply import Answer

if TYPE_CHECKING:
    from .arrival import Arrival


@dataclass(frozen=True)
class RawDelivery:
    """What a provider sent, byte for byte."""

    source: str
    path: str
    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: Address | None
    received_at: datetime
    received_monotonic: float
    query: bytes

    def header(self, name: str) -> bytes | None:
        """The value of a header field, whatever its case; the first when it was sent twice."""
        wanted = name.lower().encode("latin-1")
        for field, value in self.headers:
            if field.lower() == wanted:
                return value
        return None


async def answer_delivery(mount: IngestMount, arrival: Arrival) -> Answer:
    """Pass the delivery on and answer what the ingest side says; reads the body first, up to its limit."""
    body = await arrival.body.read(mount.max_body_bytes)
    delivery = RawDelivery(
        source=mount.source,
        path=arrival.raw_path,
        method=arrival.method,
        headers=list(arrival.headers.raw),
        body=body,
        client=arrival.client,
        received_at=datetime.now(UTC),
        received_monotonic=time.monotonic(),
        query=arrival.query,
    )
    reply = await mount.answer(delivery)
    headers = checked_fields(dict(reply.headers or {}))
    if reply.content_type:
        headers.setdefault("content-type", reply.content_type)
    return Answer(reply.status, headers, bytes(reply.body))
