"""Mints as work: one row per license."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from wharfd import Database, LeaseLost, Transaction, new_id, sql

from .buyers import Buyer

# What makes a mint be worked again, and what leaves it to a person.
_ANEW = """state = 'ready', attempts = 0, due_at = now(), finished_at = NULL, claim = NULL,
  lease_until = NULL"""
_ASIDE = "state = 'held', stage = 'held', trouble = $2, finished_at = now(), claim = NULL, lease_until = NULL"

_ENSURE = sql(
    "ensure_mint",
    f"""INSERT INTO mint.intents (id, license_id, buyer_id, wallet, tier, owner, minter)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (license_id) DO UPDATE SET {_ANEW}, stage = 'waiting', trouble = NULL, doomed = NULL,
  wallet = CASE WHEN intents.sent_on THEN intents.wallet ELSE EXCLUDED.wallet END
WHERE intents.state = 'cancelled' OR (intents.state IN ('held', 'buried') AND $8)
RETURNING id""",
)
_HURRY = sql("hurry_mint", "UPDATE mint.intents SET due_at = now() WHERE license_id = $1 AND state = 'ready'")
_HURRY_STAGE = sql(
    "hurry_mints_of_stage", "UPDATE mint.intents SET due_at = now() WHERE state = 'ready' AND stage = $1"
)
_REVIVE = sql(
    "revive_mint",
    f"UPDATE mint.intents SET {_ANEW} WHERE license_id = $1 AND state IN ('held', 'buried')",
)
_RETRY = sql(
    "retry_mint",
    f"""UPDATE mint.intents SET {_ANEW}, doomed = NULL, trouble = NULL, stage = 'waiting',
  tx_hash = CASE WHEN state = 'ready' THEN tx_hash END, block = CASE WHEN state = 'ready' THEN block END
WHERE license_id = $1 AND state IN ('held', 'buried', 'ready') RETURNING tx_hash IS NULL""",
)
_STATE = sql("state_of_mint", "SELECT state FROM mint.intents WHERE license_id = $1")
_HOLD = sql(
    "hold_mint",
    f"""UPDATE mint.intents i SET {_ASIDE} WHERE license_id = $1 AND state = 'ready'
  AND NOT EXISTS (SELECT FROM mint.nonces n WHERE n.held_by = i.id AND n.open) RETURNING id""",
)
_UNDER_WAY = sql(
    "mint_under_way",
    """SELECT EXISTS (SELECT FROM mint.intents i JOIN mint.nonces n ON n.held_by = i.id AND n.open
WHERE i.license_id = $1)""",
)
_IMPORT = sql(
    "import_mint",
    """INSERT INTO mint.intents (id, license_id, buyer_id, wallet, tier, owner, minter, stage, sent_on,
  tx_hash, delivered_at, state, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'delivered', true, $8, now(), 'done', now())""",
)
_IMPORT_BUYER = sql(
    "import_token", "UPDATE mint.buyers SET tx_hash = $2, next_step = 'done' WHERE license_id = $1"
)
_LOAD = sql(
    "load_mint",
    """SELECT i.id, i.license_id, i.buyer_id, i.wallet, i.tier, i.owner, i.minter, i.stage, i.trouble,
  i.sent_on, i.tx_hash, i.token_id, i.block, i.delivered_at, i.final, i.state,
  i.created_at, b.status
FROM mint.intents i JOIN mint.buyers b ON b.license_id = i.license_id WHERE i.id = $1""",
)
_FENCE = sql(
    "fence_mint",
    """SELECT id FROM mint.intents
WHERE id = $1 AND claim = $2 AND state = 'running' AND wallet = $3 FOR UPDATE""",
)
_WANTED = sql("still_wanted", "SELECT status = 'active' FROM mint.buyers WHERE license_id = $1 FOR SHARE")
_STAGE = sql("set_mint_stage", "UPDATE mint.intents SET stage = $2, trouble = $3 WHERE id = $1")
_DOOM = sql("doom_mint", "UPDATE mint.intents SET doomed = $2 WHERE id = $1")
_DOOMED = sql("doomed_mint", "SELECT doomed FROM mint.intents WHERE id = $1")
_SENT_ON = sql("mark_sent_on", "UPDATE mint.intents SET sent_on = true WHERE id = $1 AND NOT sent_on")
_DELIVER = sql(
    "deliver_mint",
    """UPDATE mint.intents SET stage = 'delivered', trouble = $5, tx_hash = $2, token_id = $3, block = $4,
  delivered_at = coalesce(delivered_at, $6), final = $7, checked_at = now() WHERE id = $1""",
)
_DELIVER_BUYER = sql(
    "deliver_to_buyer",
    """UPDATE mint.buyers SET tx_hash = $2, token_id = $3, delivered_at = coalesce(delivered_at, $4),
  next_step = CASE WHEN status = 'active' THEN 'done' ELSE next_step END, updated_at = now()
WHERE license_id = $1""",
)
_NOTICE = sql(
    "claim_notice",
    """INSERT INTO mint.notices (license_id, kind, event_id) VALUES ($1, $2, '')
ON CONFLICT (license_id, kind) DO NOTHING RETURNING license_id""",
)
_NOTICE_EVENT = sql(
    "note_notice", "UPDATE mint.notices SET event_id = $3 WHERE license_id = $1 AND kind = $2"
)
_UNFINAL = sql(
    "unfinal_mints",
    """SELECT id FROM mint.intents WHERE state = 'done' AND tx_hash IS NOT NULL AND NOT final
ORDER BY delivered_at LIMIT $1""",
)
_TO_CHECK = sql(
    "mints_to_check",
    """SELECT id FROM mint.intents WHERE state = 'done' AND tx_hash IS NOT NULL
  AND (checked_at IS NULL OR checked_at < $1) ORDER BY checked_at NULLS FIRST, id LIMIT $2""",
)
_CHECKED = sql(
    "mark_mint_checked",
    """WITH checked AS (
  UPDATE mint.intents SET checked_at = now(), final = final OR $2, token_id = coalesce(token_id, $3)
  WHERE id = $1 RETURNING license_id, token_id)
UPDATE mint.buyers b SET token_id = c.token_id FROM checked c
WHERE b.license_id = c.license_id AND b.token_id IS NULL AND c.token_id IS NOT NULL""",
)
_DOUBT = sql(
    "doubt_mint",
    f"UPDATE mint.intents SET {_ASIDE}, checked_at = now() WHERE id = $1 AND state = 'done'",
)
_REOPEN = sql(
    "reopen_mint",
    f"""UPDATE mint.intents SET {_ANEW}, final = false, stage = 'reorged', trouble = $2,
  tx_hash = NULL, block = NULL, checked_at = now()
WHERE id = $1 AND state = 'done' RETURNING license_id""",
)
_FORGET_HASH = sql(
    "forget_tx_hash",
    """UPDATE mint.buyers SET tx_hash = NULL, token_id = NULL, updated_at = now(),
  next_step = CASE WHEN status = 'active' THEN 'mint' ELSE next_step END
WHERE license_id = $1 AND tx_hash IS NOT NULL""",
)
_HAND_OVER = sql("hand_mint_over", "UPDATE mint.intents SET minter = $2 WHERE id = $1 AND NOT sent_on")
_SENT = sql("mint_was_sent_on", "SELECT sent_on FROM mint.intents WHERE license_id = $1 FOR UPDATE")
_WALLET = sql("move_mint", "UPDATE mint.intents SET wallet = $2 WHERE license_id = $1 AND NOT sent_on")
DELIVERED = "nft.delivered"
NO_FUNDS = "no_funds"  # the stage of mints that wait until the signer can pay


class IntentRow(msgspec.Struct):
    """What the work engine hands over."""

    id: str
    license_id: str


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A mint and the status of its buyer."""

    id: str
    license_id: str
    buyer_id: str
    wallet: str
    tier: str
    owner: str | None
    minter: str
    stage: str
    trouble: str | None
    sent_on: bool
    tx_hash: str | None
    token_id: str | None
    block: int | None
    delivered_at: datetime | None
    final: bool
    state: str
    created_at: datetime
    status: str


async def ensure(tx: Transaction, buyer: Buyer, minter: str, *, revive: bool) -> None:
    """Make sure there is work to mint for the buyer; `revive` digs up a mint that waits for a person."""
    values = (buyer.license_id, buyer.id, buyer.wallet, buyer.tier, buyer.owner, minter)
    await tx.fetchval(_ENSURE, new_id("mnt"), *values, revive)


async def take_over(tx: Transaction, buyer: Buyer, minter: str, tx_hash: str) -> None:
    """Enter a mint that another system did; the daily validation looks whether the chain has it."""
    values = (buyer.license_id, buyer.id, buyer.wallet, buyer.tier, buyer.owner, minter, tx_hash)
    await tx.execute(_IMPORT, new_id("mnt"), *values)
    await tx.execute(_IMPORT_BUYER, buyer.license_id, tx_hash)
    await claim_notice(tx, buyer.license_id, DELIVERED)


async def hurry(tx: Transaction, license_id: str, *, revive: bool = False) -> None:
    """Have the mint looked at soon: something about its buyer changed."""
    await tx.execute(_HURRY, license_id)
    if revive:
        await tx.execute(_REVIVE, license_id)


async def hurry_stage(db: Database, stage: str) -> None:
    """Have all mints that wait in this stage looked at soon."""
    await db.execute(_HURRY_STAGE, stage)


async def retry(tx: Transaction, license_id: str) -> bool:
    """Have a mint tried anew, now; False when it is running, done or withdrawn."""
    without_hash = await tx.fetchval(_RETRY, license_id)
    if without_hash:
        await tx.execute(_FORGET_HASH, license_id)
    return without_hash is not None


async def hold(tx: Transaction, license_id: str, reason: str) -> bool:
    """Leave a mint alone until somebody retries it; False when it is not waiting or holds a nonce."""
    return await tx.fetchval(_HOLD, license_id, reason) is not None


async def under_way(tx: Transaction, license_id: str) -> bool:
    """Return whether the mint holds a nonce: a transaction of it may be mined any time."""
    return bool(await tx.fetchval(_UNDER_WAY, license_id))


async def state(tx: Transaction, license_id: str) -> str | None:
    """Return the state of a mint; None when there is none."""
    found: str | None = await tx.fetchval(_STATE, license_id)
    return found


async def load(db: Database | Transaction, intent_id: str) -> Intent | None:
    """Return a mint; None when its buyer is gone."""
    row = await db.fetchrow(_LOAD, intent_id)
    return None if row is None else Intent(**row)


async def hand_over(db: Database, intent: Intent, minter: str) -> Intent:
    """Give a mint for which nothing was signed yet to another minter."""
    await db.execute(_HAND_OVER, intent.id, minter)
    return msgspec.structs.replace(intent, minter=minter)


async def fence(tx: Transaction, intent_id: str, claim: int, wallet: str) -> None:
    """Lock the mint for its worker; raises `LeaseLost` when another has it, or its wallet changed."""
    if await tx.fetchval(_FENCE, intent_id, claim, wallet) is None:
        raise LeaseLost


async def still_wanted(tx: Transaction, license_id: str) -> bool:
    """Return whether the buyer is active, and keep it so until the transaction ends."""
    return bool(await tx.fetchval(_WANTED, license_id))


async def was_sent_on(tx: Transaction, license_id: str) -> bool:
    """Return whether anything was signed for the license: then its wallet is fixed. Locks the mint."""
    return bool(await tx.fetchval(_SENT, license_id))


async def move(tx: Transaction, license_id: str, wallet: str) -> None:
    """Mint to another wallet."""
    await tx.execute(_WALLET, license_id, wallet)


async def set_stage(tx: Transaction, intent_id: str, stage: str, trouble: str | None) -> None:
    """Note how far the mint is."""
    await tx.execute(_STAGE, intent_id, stage, trouble)


async def doomed(db: Database, intent_id: str) -> str | None:
    """Return why the mint must not be tried again by itself; None when nothing speaks against it."""
    reason: str | None = await db.fetchval(_DOOMED, intent_id)
    return reason


async def doom(tx: Transaction, intent_id: str, reason: str) -> None:
    """Note why the mint must not be tried again by itself; a retry takes that back."""
    await tx.execute(_DOOM, intent_id, reason)


async def mark_sent_on(tx: Transaction, intent_id: str) -> None:
    """Note that something left the house for this mint: from now on its wallet is fixed."""
    await tx.execute(_SENT_ON, intent_id)


async def deliver(
    tx: Transaction,
    intent: Intent,
    *,
    tx_hash: str | None,
    token_id: str | None,
    block: int | None,
    trouble: str | None,
    at: datetime,
    final: bool,
) -> None:
    """Write that the token is there, on the mint and on the buyer."""
    await tx.execute(_DELIVER_BUYER, intent.license_id, tx_hash, token_id, at)
    await tx.execute(_DELIVER, intent.id, tx_hash, token_id, block, trouble, at, final)


async def claim_notice(tx: Transaction, license_id: str, kind: str) -> bool:
    """Return True once per license and kind."""
    return await tx.fetchval(_NOTICE, license_id, kind) is not None


async def note_notice(tx: Transaction, license_id: str, kind: str, event_id: str) -> None:
    """Note which event told it."""
    await tx.execute(_NOTICE_EVENT, license_id, kind, event_id)


async def unfinal(db: Database, limit: int) -> list[str]:
    """Return delivered mints whose block a reorganisation could still take away."""
    return [row["id"] for row in await db.fetch(_UNFINAL, limit)]


async def to_check(db: Database, before: datetime, limit: int) -> list[str]:
    """Return delivered mints that were not compared with the chain since `before`."""
    return [row["id"] for row in await db.fetch(_TO_CHECK, before, limit)]


async def mark_checked(db: Database, intent_id: str, *, final: bool, token_id: str | None = None) -> None:
    """Note that the chain still has it, and its token where that was not known."""
    await db.execute(_CHECKED, intent_id, final, token_id)


async def doubt(tx: Transaction, intent_id: str, trouble: str) -> None:
    """Hold a delivered mint whose transaction does not bear it out; a retry forgets that transaction."""
    await tx.execute(_DOUBT, intent_id, trouble)


async def reopen(tx: Transaction, intent_id: str, trouble: str) -> bool:
    """Take a delivered mint up again because the chain lost it; the buyer has no tx_hash until it is back."""
    license_id: Any = await tx.fetchval(_REOPEN, intent_id, trouble)
    if license_id is None:
        return False
    await tx.execute(_FORGET_HASH, license_id)
    return True
