"""What this plugin does by itself: hear payments, book awards, let points expire, look after itself."""

from __future__ import annotations

import msgspec

from wharfd import Finding, Job, PluginContext, Transaction
from wharfd.contracts.events import Envelope

from . import store
from .config import Settings
from .model import MemberPromoted, is_promotion, level_of, points_for

Ctx = PluginContext[Settings]


class AwardRow(msgspec.Struct):
    """What the queue's handler gets of an award."""

    id: str
    member_id: str
    points: int
    reason: str


async def on_payment(ctx: Ctx, envelope: Envelope, tx: Transaction) -> None:
    """Award points for a payment, in the commit that says that it was heard."""
    payment = envelope.data
    points = points_for(payment["amount"], ctx.settings)
    if points and payment["merchant_ref"]:
        member_id = await store.join(tx, envelope.owner, payment["merchant_ref"])
        await store.award(tx, member_id, points, "payment", f"payment {payment['transaction_id']}")
        ctx.work.wake(tx, "awards")


async def book(ctx: Ctx, job: Job[AwardRow]) -> None:
    """Add an award to its member, in the commit that finishes it; tell when that makes a higher level."""
    award = job.row
    async with job.commit() as tx:
        member = await store.lock(tx, award.member_id)
        points = max(0, member["points"] + award.points)
        level = level_of(points, ctx.settings)
        await store.book(tx, award.member_id, points, level)
        if is_promotion(member["level"], level):
            told = MemberPromoted(
                owner=member["owner"],
                subject=award.member_id,
                member_id=award.member_id,
                reference=member["reference"],
                level=level,
                points=points,
            )
            await ctx.events.publish(tx, told)
    ctx.metrics["awards_total"].labels(award.reason).inc()


async def expire(ctx: Ctx) -> None:
    """Take the points of members who earned none for long; it is an award like any other, below zero."""
    members = await store.idle(ctx.db, ctx.settings.expire_after)
    async with ctx.db.transaction() as tx:
        for member in members:
            made_by = f"expiry {member['id']} {member['earned_at'].isoformat()}"
            await store.award(tx, member["id"], -member["points"], "expiry", made_by)
        ctx.work.wake(tx, "awards")
    ctx.log.info("points_expired", members=len(members))


async def find_waiting(ctx: Ctx) -> list[Finding]:
    """Say when awards wait too long."""
    count = await store.waiting(ctx.db)
    return [Finding(f"{count} awards wait for more than five minutes", value=count)] if count else []
