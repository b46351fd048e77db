"""From a delivery to a committed row."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from wharfd import Delivery, IngestReply, sql

from .crashes import pass_point

STORE = sql(
    "store_entries",
    """INSERT INTO proof.entries (id, kind)
    SELECT * FROM unnest($1::text[], $2::text[]) AS e (id, kind) ORDER BY id
    ON CONFLICT DO NOTHING RETURNING id""",
)


class Entry(msgspec.Struct, frozen=True):
    """What is delivered."""

    id: str
    kind: Literal["single", "batch"] = "single"


def admit(ctx: Any, delivery: Delivery) -> Entry | IngestReply:
    """Read the delivery; what is no entry is 400."""
    try:
        return msgspec.json.decode(delivery.body, type=Entry)
    except msgspec.MsgspecError:
        return IngestReply(400, b'{"success":false}')


async def store(ctx: Any, tx: Any, entries: list[Entry]) -> list[IngestReply]:
    """Store what is new and say which was there before."""
    pass_point(ctx, "store.begin")
    kinds = {entry.id: entry.kind for entry in entries}
    new = {record["id"] for record in await tx.fetch(STORE, list(kinds), list(kinds.values()))}
    for kind in {kinds[one] for one in new}:
        ctx.work.wake(tx, "singles" if kind == "single" else "batches")
    pass_point(ctx, "store.end")
    tx.after_commit(lambda: pass_point(ctx, "store.committed"))
    replies = []
    for entry in entries:
        replies.append(_reply("stored" if entry.id in new else "duplicate"))
        new.discard(entry.id)
    return replies


def spooled(ctx: Any, entry: Entry) -> IngestReply:
    """Answer while PostgreSQL is away."""
    pass_point(ctx, "spooled")
    return _reply("spooled")


def _reply(how: str) -> IngestReply:
    return IngestReply(200, msgspec.json.encode({"success": True, "how": how}))
