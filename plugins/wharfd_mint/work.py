"""Working a mint: ask its minter how far it is, and write what that means, in one commit with the outcome."""

from __future__ import annotations

from datetime import datetime

from wharfd import Cancel, Done, Hold, Job, PluginContext, Snooze, Transaction
from wharfd.contracts.mints import (
    Minted,
    MintRequest,
    NeedsPerson,
    NftDelivered,
    Pending,
    Settled,
    Withdrawn,
)

from .config import Settings
from .mailing import SendReceipt
from .minters import find_minter
from .store import intents
from .store.intents import DELIVERED, Intent, IntentRow

_NOBODY_SECONDS = 30.0
_LONGEST_STAGE = 60


def request_for(intent: Intent, claim: int) -> MintRequest:
    """Make what a minter gets to see of a mint."""

    async def fence(tx: Transaction) -> None:
        await intents.fence(tx, intent.id, claim, intent.wallet)

    async def still_wanted(tx: Transaction) -> bool:
        return await intents.still_wanted(tx, intent.license_id)

    return MintRequest(
        id=intent.id,
        license_id=intent.license_id,
        wallet=intent.wallet,
        tier=intent.tier,
        wanted=intent.status == "active",
        delivered=intent.delivered_at is not None and intent.tx_hash is not None,
        fence=fence,
        still_wanted=still_wanted,
    )


async def work_mint(ctx: PluginContext[Settings], job: Job[IntentRow]) -> object:
    """Take one mint a step on."""
    intent = await intents.load(ctx.db, job.row.id)
    if intent is None:
        return Cancel("its buyer is in the archive")
    if not intent.sent_on and intent.minter != ctx.settings.minting:
        intent = await intents.hand_over(ctx.db, intent, ctx.settings.minting)
    minter = await find_minter(ctx, intent.minter)
    if minter is None:
        why = f"no running plugin offers the minter {intent.minter!r}"
        job.finish(Snooze(_NOBODY_SECONDS, reason=why))
        await _write_stage(job, intent, "waiting", why)
        return None
    progress = await minter.advance(request_for(intent, job.claim))
    passing = ctx.state.get("passing")
    if passing is not None:
        passing("notify")
    match progress:
        case Minted():
            await _deliver(ctx, job, intent, progress)
        case Pending(seconds=seconds, stage=stage, trouble=trouble):
            job.finish(Snooze(seconds, reason=trouble or ""))
            await _write_stage(job, intent, stage, trouble)
        case NeedsPerson(reason=reason):
            job.finish(Hold(reason))
            await _write_stage(job, intent, "held", reason)
            ctx.metrics["mints_total"].labels("held").inc()
            ctx.log.error("mint_needs_person", license=intent.license_id, reason=reason)
        case Withdrawn():
            job.finish(Cancel("the buyer is not active any more"))
            await _write_stage(job, intent, "withdrawn", None)
            ctx.metrics["mints_total"].labels("withdrawn").inc()
        case Settled():
            return Done()
    return None


async def _write_stage(job: Job[IntentRow], intent: Intent, stage: str, trouble: str | None) -> None:
    stage = stage[:_LONGEST_STAGE]
    if (stage, trouble) == (intent.stage, intent.trouble):
        return  # the outcome alone is written
    async with job.commit() as tx:
        await intents.set_stage(tx, intent.id, stage, trouble)


async def _deliver(ctx: PluginContext[Settings], job: Job[IntentRow], intent: Intent, minted: Minted) -> None:
    """Write that the token is there, and tell it, once: all of it or nothing."""
    if minted.loose_ends:
        job.finish(Snooze(0))
    now = ctx.now()
    async with job.commit() as tx:
        wanted = await intents.still_wanted(tx, intent.license_id)
        trouble = None if wanted else "minted although the buyer was refunded while it was under way"
        await intents.deliver(
            tx,
            intent,
            tx_hash=minted.tx_hash,
            token_id=minted.token_id,
            block=minted.block,
            trouble=trouble,
            at=now,
            final=minted.block is None,
        )
        if minted.record is not None:
            await minted.record(tx)
        if wanted and await intents.claim_notice(tx, intent.license_id, DELIVERED):
            await _tell(ctx, tx, intent, minted, now)
    ctx.metrics["mints_total"].labels("delivered").inc()
    ctx.metrics["delivery_seconds"].observe(max(0.0, (now - intent.created_at).total_seconds()))
    log = ctx.log.info if wanted else ctx.log.error
    log("nft_delivered", license=intent.license_id, tx_hash=minted.tx_hash, token_id=minted.token_id)


async def _tell(
    ctx: PluginContext[Settings], tx: Transaction, intent: Intent, minted: Minted, at: datetime
) -> None:
    event = NftDelivered(
        owner=intent.owner,
        subject=intent.license_id,
        buyer_id=intent.buyer_id,
        license_id=intent.license_id,
        wallet=intent.wallet,
        tier=intent.tier,
        tx_hash=minted.tx_hash,
        token_id=minted.token_id,
        chain_id=minted.chain_id,
        delivered_at=at,
    )
    event_id = await ctx.events.publish(tx, event)
    await intents.note_notice(tx, intent.license_id, DELIVERED, event_id)
    if ctx.settings.mail is not None:
        await ctx.jobs.enqueue(tx, SendReceipt(license_id=intent.license_id), unique=intent.license_id)
