"""Recover since: send an endpoint what it missed, in the background, at a rate, with progress.

Each step looks at some messages and schedules what they need in one commit together with its own position, so
that a crash neither skips nor repeats any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Job, Outcome, PluginContext, Queries, Record, Snooze, Transaction, new_id

from .config import Settings
from .model.endpoint import Target, read_target
from .sending.sender import QUEUES
from .store import deliveries, endpoints, recoveries

KINDS = ("failed", "missing", "parked", "cancelled", "delivered")
STEP_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 5.0
_MOST_PER_STEP = 500
_OF_STATE = {
    "buried": "failed",
    "held": "parked",
    "cancelled": "cancelled",
    "done": "delivered",
    None: "missing",
}


class Recover(msgspec.Struct, frozen=True):
    """The job's arguments: which recovery."""

    recovery_id: str


@dataclass(frozen=True)
class Piece:
    """Some messages looked at: which are to be sent, and how far it went."""

    looked_at: int
    wanted: list[tuple[Record, str, Any]]
    position: tuple[datetime, str] | None


async def look(
    db: Queries,
    endpoint: Record,
    target: Target,
    after: tuple[datetime, str],
    until: datetime,
    include: Sequence[str],
    limit: int,
) -> Piece:
    """Look at the next messages; those whose delivery is of an included kind are wanted."""
    rows = await recoveries.following(db, endpoint, after, until, limit)
    wanted = []
    for row in rows:
        kind = _OF_STATE.get(row["state"])
        if kind is None or kind not in include:
            continue
        payload = msgspec.json.decode(row["body"])
        if kind != "missing" or target.wants(payload):
            wanted.append((row, kind, payload))
    return Piece(len(rows), wanted, (rows[-1]["created_at"], rows[-1]["id"]) if rows else None)


async def tally(
    db: Queries,
    endpoint: Record,
    since: datetime,
    until: datetime,
    include: Sequence[str],
    *,
    most: int = 20_000,
) -> tuple[Counter[str], bool]:
    """Count what a recovery would send, by kind; the second value says whether it was counted to the end."""
    target = target_of(endpoint)
    counts: Counter[str] = Counter()
    position, seen = (since, ""), 0
    while seen < most:
        piece = await look(db, endpoint, target, position, until, include, 1000)
        counts.update(kind for _, kind, _ in piece.wanted)
        seen += piece.looked_at
        if piece.position is None or piece.looked_at < 1000:
            return counts, True
        position = piece.position
    return counts, False


async def recover(ctx: PluginContext[Settings], args: Recover, job: Job[Any]) -> Outcome | None:
    """Do the next step of a recovery: the handler of the job."""
    async with job.commit() as tx:
        row = await recoveries.lock(tx, args.recovery_id)
        endpoint = None if row is None else await endpoints.get(tx, row["endpoint_id"], None)
        if row is None or endpoint is None or row["state"] != "running":
            return None
        step = max(1, min(_MOST_PER_STEP, int(row["per_second"] * STEP_SECONDS)))
        start = _position_of(row)
        target = target_of(endpoint)
        piece = await look(tx, endpoint, target, start, row["until"], row["include"], step)
        scheduled = await _schedule(ctx, tx, endpoint, target, piece, row["per_second"])
        done = piece.looked_at < step
        position = piece.position or start
        await recoveries.move(
            tx, row["id"], piece.looked_at, scheduled, [position[0].isoformat(), position[1]], done=done
        )
        if not done:
            pause = max(scheduled / row["per_second"], 0.05 if not scheduled else 0.0)
            job.finish(Snooze(pause, reason=""))
    return None


async def _schedule(
    ctx: PluginContext[Settings],
    tx: Transaction,
    endpoint: Record,
    target: Target,
    piece: Piece,
    per_second: float,
) -> int:
    again, make = [], []
    for place, (row, kind, payload) in enumerate(piece.wanted):
        wait = place / per_second
        if kind == "missing":
            key = target.order_key(payload)
            make.append((new_id("dlv"), row["id"], row["created_at"], row["type"], key, wait))
        else:
            again.append((row["delivery_id"], row["delivery_at"], wait))
    lanes: list[str] = []
    if again:
        lanes += await recoveries.again(tx, again)
    if make:
        await recoveries.make(tx, endpoint["id"], target.lane, make)
        lanes += [target.lane] * len(make)
    for lane in set(lanes):
        ctx.work.wake(tx, QUEUES[lane], rows=lanes.count(lane))
    return len(lanes)


def target_of(endpoint: Record) -> Target:
    """Return an endpoint as the target of messages."""
    return read_target(
        endpoint["id"],
        endpoint["owner"],
        endpoint["version"],
        endpoint["filter"],
        endpoint["order_by"],
        endpoint["order_failed"],
    )


def _position_of(row: Record) -> tuple[datetime, str]:
    if row["position"] is None:
        return row["since"], ""
    return datetime.fromisoformat(row["position"][0]), row["position"][1]


class CancelAll(msgspec.Struct, frozen=True):
    """Cancel what still waits for an endpoint that was deleted."""

    endpoint_id: str


async def cancel_all(ctx: PluginContext[Settings], args: CancelAll, job: Job[Any]) -> Snooze | None:
    """Cancel in small statements until nothing waits: the handler of the job.

    What a worker holds just now may still be parked by it, so it comes back until nothing is held.
    """
    busy = await deliveries.any_running(ctx.db, args.endpoint_id)
    while await deliveries.cancel_waiting(ctx.db, args.endpoint_id, "the endpoint was deleted"):
        continue
    return Snooze(_LOOK_AGAIN_SECONDS, reason="deliveries are under way") if busy else None
