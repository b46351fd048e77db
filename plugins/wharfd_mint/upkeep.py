"""What is done by the clock: tend the signer, watch for reorganisations, validate, review wires, archive."""

from __future__ import annotations

from datetime import timedelta

from wharfd import Database, PluginContext
from wharfd.contracts.mints import Verified

from . import desk
from .config import Settings
from .minters import evm_of, find_minter
from .store import buyers, intents, watching
from .work import request_for

_GROUP = 200
_ACTOR = "schedule"


async def tend_signer(ctx: PluginContext[Settings]) -> None:
    """Note the signer's balance and nonce, and fill nonces that hold up later ones."""
    minter = evm_of(ctx)
    if minter is not None:
        await minter.tend()


async def watch_blocks(ctx: PluginContext[Settings]) -> None:
    """Look again at deliveries whose block is not final for the chain; they are few."""
    for intent_id in await intents.unfinal(ctx.db, _GROUP):
        await _check(ctx, intent_id)


async def validate(ctx: PluginContext[Settings]) -> None:
    """Compare every token with the chain: the promise of each tx_hash, once a day."""
    started = ctx.now()
    counts = {"seen": 0, "gone": 0, "unknown": 0}
    while True:
        group = await intents.to_check(ctx.db, started, _GROUP)
        before = counts["unknown"]
        for intent_id in group:
            counts[await _check(ctx, intent_id)] += 1
        # What cannot be asked about stays unchecked and would come again at once: leave it for the next run.
        if len(group) < _GROUP or counts["unknown"] > before:
            break
    ctx.log.info("tokens_validated", **counts)


async def _check(ctx: PluginContext[Settings], intent_id: str) -> str:
    intent = await intents.load(ctx.db, intent_id)
    if intent is None:
        await intents.mark_checked(ctx.db, intent_id, final=True)  # its buyer is in the archive
        return "seen"
    minter = await find_minter(ctx, intent.minter)
    if minter is None:
        return "unknown"
    found: Verified = await minter.verify(request_for(intent, -1), intent.tx_hash)
    if found.seen is None:
        return "unknown"
    if found.seen:
        await intents.mark_checked(ctx.db, intent_id, final=found.final, token_id=found.token_id)
        return "seen"
    ctx.log.error("token_gone", license=intent.license_id, tx_hash=intent.tx_hash, detail=found.detail)
    async with ctx.db.transaction() as tx:
        await buyers.locked(tx, intent.license_id)
        if found.record is None:
            await intents.doubt(tx, intent_id, found.detail)
        elif await intents.reopen(tx, intent_id, found.detail):
            await found.record(tx)
            ctx.work.wake(tx, "intents")
    ctx.metrics["mints_total"].labels("held" if found.record is None else "reorged").inc()
    return "gone"


async def review_wires(ctx: PluginContext[Settings]) -> None:
    """Expire buyers whose wire never came."""
    if not ctx.settings.expire_wires:
        return
    before = ctx.now() - timedelta(days=ctx.settings.wire_days)
    while found := await watching.old_wires(ctx.db, before, _GROUP):
        for row in found:
            async with ctx.db.transaction() as tx:
                buyer = await buyers.locked(tx, row["license_id"])
                if buyer is not None and buyer.status == "pending_wire":
                    reason = f"no wire within {ctx.settings.wire_days} days"
                    await desk.leave(ctx, tx, buyer, "expired", actor=_ACTOR, reason=reason)


async def archive(ctx: PluginContext[Settings]) -> None:
    """Move refunded and expired buyers of long ago to the archive, when there are many buyers.

    The daemon's own role cannot delete buyers; this is done by the owner role, as retention is.
    """
    if not await watching.more_buyers_than(ctx.db, ctx.settings.archive_above):
        return
    owner: Database = ctx.db.owner
    age = timedelta(days=ctx.settings.archive_after_days)
    total = 0
    while moved := await watching.archive(owner, age, _GROUP):
        total += moved
    if total:
        ctx.log.info("buyers_archived", rows=total)
