"""The work queues: four lanes over one table."""

from __future__ import annotations

from typing import Any

from wharfd import Retry, WorkQueue

from .config import Settings
from .executing.bulk import work_many
from .executing.gates import ItemRow
from .executing.single import work_one

_CALL_SLACK_SECONDS = 60.0  # for waiting for a turn and for writing, beyond the call itself


def queues(settings: Settings) -> list[WorkQueue]:
    """Return the queues. Owners share the workers evenly; in a fifo lane each account is worked in order."""
    http = settings.http
    calls = http.concurrency if http is not None else 8
    seconds = (http.timeout.total_seconds() if http is not None else 30.0) * 2 + _CALL_SLACK_SECONDS
    retry = Retry(attempts=settings.attempts, delays=(2, 5, 15, 60, 180, 600))
    skip_buried = settings.fifo_after_failure == "continue"

    def queue(lane: str, **more: Any) -> WorkQueue:
        return WorkQueue(
            name=lane,
            table="orders.items",
            row=ItemRow,
            key=("batch", "idx"),
            lane=("lane", lane),
            fair_by="share",
            retry=retry,
            ordered=lane.endswith("fifo"),
            skip_buried=lane.endswith("fifo") and skip_buried,
            **more,
        )

    many: dict[str, Any] = {
        "handler": work_many, "batch": settings.ledger_batch, "concurrency": settings.ledger_workers,
        "timeout_seconds": 120.0,
    }  # fmt: skip
    one: dict[str, Any] = {"handler": work_one, "concurrency": calls, "timeout_seconds": seconds}
    return [
        queue("bulk", **many),
        queue("bulk_fifo", **many),
        queue("call", **one),
        queue("call_fifo", **one),
    ]
