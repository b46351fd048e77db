"""Buyers and the places they hold in their tier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Database, Record, Transaction, sql

COLUMNS = (
    "id, license_id, wallet, tier, status, holds_place, tx_hash, token_id, price, currency, payment_method, "
    "payment_ref, email, name, next_step, receipt_sent, owner, created_at, updated_at, status_at, "
    "delivered_at"
)

_ADD = sql(
    "add_buyer",
    f"""INSERT INTO mint.buyers (id, license_id, wallet, tier, status, holds_place, price, currency,
  payment_method, payment_ref, email, name, next_step, owner)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
WHERE NOT EXISTS (SELECT FROM mint.buyers_archive WHERE license_id = $2)
ON CONFLICT (license_id) DO NOTHING RETURNING {COLUMNS}""",
)
_GET = sql("get_buyer", f"SELECT {COLUMNS} FROM mint.buyers WHERE id = $1")
_OF_LICENSE = sql("buyer_of_license", f"SELECT {COLUMNS} FROM mint.buyers WHERE license_id = $1")
_LOCK = sql("lock_buyer", f"SELECT {COLUMNS} FROM mint.buyers WHERE license_id = $1 FOR UPDATE")
_OF_WALLET = sql(
    "buyers_of_wallet",
    f"""SELECT {COLUMNS} FROM mint.buyers WHERE wallet = $1 AND ($2::text IS NULL OR owner = $2)
ORDER BY created_at DESC, id DESC LIMIT 200""",
)
_TAKE = sql(
    "take_place",
    "UPDATE mint.tiers SET taken = taken + 1 WHERE tier = $1 AND (cap IS NULL OR taken < cap)",
)
_GIVE_BACK = sql("give_place_back", "UPDATE mint.tiers SET taken = taken - 1 WHERE tier = $1")
_STATUS = sql(
    "set_buyer_status",
    f"""UPDATE mint.buyers SET status = $2, holds_place = $3, next_step = $4, status_at = now(),
  updated_at = now(), payment_ref = coalesce($5, payment_ref) WHERE id = $1 RETURNING {COLUMNS}""",
)
_CHANGE = sql(
    "change_buyer",
    f"""UPDATE mint.buyers SET wallet = $2, email = $3, name = $4, next_step = $5, receipt_sent = $6,
  updated_at = now() WHERE id = $1 RETURNING {COLUMNS}""",
)
_NOTE = sql(
    "note_buyer_history",
    "INSERT INTO mint.buyer_history (buyer_id, status, actor, reason) VALUES ($1, $2, $3, $4)",
)
_HISTORY = sql(
    "buyer_history",
    "SELECT at, status, actor, reason FROM mint.buyer_history WHERE buyer_id = $1 ORDER BY id LIMIT 500",
)
_SYNC_TIER = sql(
    "sync_tier",
    """INSERT INTO mint.tiers (tier, cap, price, currency) VALUES ($1, $2, $3, $4)
ON CONFLICT (tier) DO UPDATE SET cap = EXCLUDED.cap, price = EXCLUDED.price, currency = EXCLUDED.currency,
  updated_at = now()
WHERE (tiers.cap, tiers.price, tiers.currency)
  IS DISTINCT FROM (EXCLUDED.cap, EXCLUDED.price, EXCLUDED.currency)""",
)
_TIERS = sql("list_tiers", "SELECT tier, cap, taken, price, currency FROM mint.tiers ORDER BY tier")
_ARCHIVED = sql("archived_buyer_status", "SELECT status FROM mint.buyers_archive WHERE license_id = $1")
_RECEIPT = sql(
    "mark_receipt_sent", "UPDATE mint.buyers SET receipt_sent = true, updated_at = now() WHERE id = $1"
)


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """One buyer as the table has it."""

    id: str
    license_id: str
    wallet: str
    tier: str
    status: str
    holds_place: bool
    tx_hash: str | None
    token_id: str | None
    price: int | None
    currency: str
    payment_method: str
    payment_ref: str | None
    email: str | None
    name: str | None
    next_step: str
    receipt_sent: bool
    owner: str | None
    created_at: datetime
    updated_at: datetime
    status_at: datetime
    delivered_at: datetime | None


def _buyer(row: Record | None) -> Buyer | None:
    return None if row is None else Buyer(**row)


def _sure(row: Record | None) -> Buyer:
    assert row is not None
    return Buyer(**row)


async def add(tx: Transaction, values: Mapping[str, Any]) -> Buyer | None:
    """Add a buyer; None when the license exists, in the archive too."""
    order = (
        "id license_id wallet tier status holds_place price currency payment_method payment_ref email name "
        "next_step owner"
    )
    return _buyer(await tx.fetchrow(_ADD, *(values.get(name) for name in order.split())))


async def get(db: Database | Transaction, buyer_id: str) -> Buyer | None:
    """Return a buyer by id."""
    return _buyer(await db.fetchrow(_GET, buyer_id))


async def of_license(db: Database | Transaction, license_id: str) -> Buyer | None:
    """Return the buyer of a license."""
    return _buyer(await db.fetchrow(_OF_LICENSE, license_id))


async def locked(tx: Transaction, license_id: str) -> Buyer | None:
    """Return the buyer of a license, locked until the transaction ends."""
    return _buyer(await tx.fetchrow(_LOCK, license_id))


async def archived(tx: Transaction, license_id: str) -> str | None:
    """Return the status of a buyer in the archive; None when there is none."""
    status: str | None = await tx.fetchval(_ARCHIVED, license_id)
    return status


async def of_wallet(db: Database, wallet: str, owner: str | None) -> list[Buyer]:
    """Return the buyers with this wallet, the latest first, 200 at most."""
    return [Buyer(**row) for row in await db.fetch(_OF_WALLET, wallet, owner)]


async def take_place(tx: Transaction, tier: str) -> bool:
    """Take a place in the tier; False when there is none. The row lock holds off other daemons."""
    return await tx.execute(_TAKE, tier) == 1


async def give_place_back(tx: Transaction, tier: str) -> None:
    """Give a place back."""
    await tx.execute(_GIVE_BACK, tier)


async def set_status(
    tx: Transaction,
    buyer: Buyer,
    status: str,
    *,
    holds_place: bool,
    actor: str,
    reason: str,
    next_step: str = "",
    payment_ref: str | None = None,
) -> Buyer:
    """Move a buyer to a status and note who did it and why."""
    await tx.execute(_NOTE, buyer.id, status, actor, reason)
    return _sure(await tx.fetchrow(_STATUS, buyer.id, status, holds_place, next_step, payment_ref))


async def note(tx: Transaction, buyer_id: str, status: str, actor: str, reason: str) -> None:
    """Add a line to a buyer's history."""
    await tx.execute(_NOTE, buyer_id, status, actor, reason)


async def change(
    tx: Transaction,
    buyer_id: str,
    *,
    wallet: str,
    email: str | None,
    name: str | None,
    next_step: str,
    receipt: bool,
) -> Buyer:
    """Write the fields that may be edited."""
    return _sure(await tx.fetchrow(_CHANGE, buyer_id, wallet, email, name, next_step, receipt))


async def history(db: Database, buyer_id: str) -> list[Record]:
    """Return what happened to a buyer, oldest first."""
    return await db.fetch(_HISTORY, buyer_id)


async def sync_tier(tx: Transaction, tier: str, cap: int | None, price: int | None, currency: str) -> None:
    """Make the table say what the settings say; the places taken stay."""
    await tx.execute(_SYNC_TIER, tier, cap, price, currency)


async def tiers(db: Database | Transaction) -> list[Record]:
    """Return all tiers with how many places are taken."""
    return await db.fetch(_TIERS)


async def mark_receipt_sent(tx: Transaction, buyer_id: str) -> None:
    """Note that the buyer got the mail."""
    await tx.execute(_RECEIPT, buyer_id)
