"""What a handler looks at before it works an order: is the batch to be worked now?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from wharfd import Cancel, Job, Outcome, Record, Snooze

from ..model.gate import Gate, Steering, gate_of
from ..parts import Context, parts_of
from ..store import batches

_LATER_SECONDS = 2.0  # the steering loop puts such rows away before that


class ItemRow(msgspec.Struct):
    """What the queues know of a row."""

    batch: int
    idx: int
    owner: str
    client_ref: str | None
    account: str | None
    currency: str | None
    amount: int | None
    sent_at: datetime | None


def steering_of(batch: Record) -> Steering:
    """Return what people decided about a batch."""
    return Steering(
        needs_approval=batch["needs_approval"],
        approved=batch["approved_at"] is not None,
        paused=batch["paused_at"] is not None,
        cancelled=batch["cancelled_at"] is not None,
        start_at=batch["start_at"],
    )


def gate_for(ctx: Context, batch: Record) -> Gate:
    """Return whether a batch is worked now."""
    return gate_of(steering_of(batch), ctx.settings.window, ctx.now())


def refusal(gate: Gate) -> Outcome | None:
    """Return how a row ends that is not to be worked now; None when it is."""
    if gate.open:
        return None
    if gate.phase == "cancelling":
        return Cancel("the batch was cancelled")
    return Snooze(_LATER_SECONDS, reason=f"the batch is {gate.phase.replace('_', ' ')}")


async def look_up(ctx: Context, jobs: Sequence[Job[ItemRow]]) -> dict[int, Record]:
    """Return the batches of some rows, and note that they have begun."""
    found = await batches.facts(ctx.db, sorted({job.row.batch for job in jobs}))
    parts = parts_of(ctx)
    fresh = [
        number
        for number, batch in found.items()
        if batch["started_at"] is None and number not in parts.begun and gate_for(ctx, batch).open
    ]
    if fresh:
        await batches.begun(ctx.db, fresh)
        parts.begun.update(fresh)
    return found
