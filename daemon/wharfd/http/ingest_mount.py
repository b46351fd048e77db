"""Ingest paths on the API server: the raw request goes to the same code the ingest listener calls."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..ingest import Delivery
from .endpoint import IngestMount
from .headers import checked_fields
from .reply import Answer

if TYPE_CHECKING:
    from .arrival import Arrival


async def answer_delivery(mount: IngestMount, arrival: Arrival) -> Answer:
    """Pass the delivery on and answer what the ingest side says; reads the body first, up to its limit."""
    body = await arrival.body.read(mount.max_body_bytes)
    delivery = Delivery(
        source=mount.source,
        path=arrival.raw_path,
        method=arrival.method,
        headers=list(arrival.headers.raw),
        body=body,
        client=str(arrival.client) if arrival.client is not None else "",
        received_at=datetime.now(UTC),
        received_monotonic=time.monotonic(),
        query=arrival.query.decode("latin-1"),
    )
    reply = await mount.answer(delivery)
    headers = checked_fields(dict(reply.headers))
    if reply.content_type:
        headers.setdefault("content-type", reply.content_type)
    return Answer(reply.status, headers, reply.body)
