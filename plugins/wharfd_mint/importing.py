"""`buyers` of the system before, each with its mint.

A buyer with a transaction is delivered, and the daily validation looks that transaction up on the chain. A
paid buyer without one gets a mint that is held: the old system may have minted without noting it, so a person
decides, with `wharfd mint retry`, and the minter asks the chain before it sends anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, columns_of, sql, stable_id, stored_of

from .config import Settings
from .model.wallets import BadWallet, check_wallet

SYSTEM = "node pass buyers"
_STATUSES = ("active", "pending_wire", "refunded", "expired")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_PRICES = ("price_usd", "priceUsd", "price")
_HELD = "imported without a transaction; look at the chain, then retry the mint"

TIERS = sql(
    "import_tiers", "INSERT INTO mint.tiers (tier) SELECT unnest($1::text[]) ON CONFLICT (tier) DO NOTHING"
)
ADD = sql(
    "import_buyers",
    """WITH given AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::boolean[], $13::timestamptz[])
  AS g (id, license_id, wallet, tier, status, tx_hash, price, payment_method, email, name, next_step,
    receipt_sent, created_at)
  WHERE NOT EXISTS (SELECT FROM mint.buyers_archive a WHERE a.license_id = g.license_id)
), added AS (
  INSERT INTO mint.buyers (id, license_id, wallet, tier, status, holds_place, tx_hash, price, payment_method,
    email, name, next_step, receipt_sent, created_at, updated_at, status_at, delivered_at)
  SELECT id, license_id, wallet, tier, status, status IN ('active', 'pending_wire'), tx_hash, price,
    payment_method, email, name, next_step, receipt_sent, created_at, created_at, created_at,
    CASE WHEN tx_hash IS NOT NULL THEN created_at END
  FROM given ON CONFLICT DO NOTHING
  RETURNING id, license_id, wallet, tier, status, tx_hash, created_at, holds_place
), taken AS (
  UPDATE mint.tiers t SET taken = t.taken + n.places
  FROM (SELECT tier, count(*) AS places FROM added WHERE holds_place GROUP BY tier) n WHERE t.tier = n.tier
), told AS (
  INSERT INTO mint.notices (license_id, kind, event_id)
  SELECT license_id, 'nft.delivered', '' FROM added WHERE tx_hash IS NOT NULL ON CONFLICT DO NOTHING
), noted AS (
  INSERT INTO mint.buyer_history (buyer_id, at, status, actor, reason)
  SELECT id, created_at, status, 'import', 'imported' FROM added
), minted AS (
  INSERT INTO mint.intents (id, license_id, buyer_id, wallet, tier, minter, stage, trouble, sent_on, tx_hash,
    delivered_at, created_at, state, finished_at, last_error)
  SELECT 'mnt_' || a.id, a.license_id, a.id, a.wallet, a.tier, $14,
    CASE WHEN a.tx_hash IS NULL THEN 'held' ELSE 'delivered' END,
    CASE WHEN a.tx_hash IS NULL THEN $15 END, a.tx_hash IS NOT NULL, a.tx_hash,
    CASE WHEN a.tx_hash IS NOT NULL THEN a.created_at END, a.created_at,
    CASE WHEN a.tx_hash IS NULL THEN 'held' ELSE 'done' END, now(), CASE WHEN a.tx_hash IS NULL THEN $15 END
  FROM added a WHERE a.tx_hash IS NOT NULL OR a.status = 'active'
  ON CONFLICT (license_id) DO NOTHING
)
SELECT count(*) FROM added""",
)
READ = sql(
    "read_imported_buyers",
    """SELECT b.id, b.license_id, b.wallet, b.tier, b.status, b.tx_hash, b.price, b.payment_method, b.email,
  b.name, b.next_step, b.receipt_sent, b.created_at
FROM unnest($1::text[]) AS g (license_id) JOIN mint.buyers b USING (license_id)""",
)


class OldBuyer(msgspec.Struct, frozen=True):
    """A buyer as it will stand in the table."""

    id: str
    license_id: str
    wallet: str
    tier: str
    status: str
    tx_hash: str | None
    price: int | None
    payment_method: str
    email: str | None
    name: str | None
    next_step: str
    receipt_sent: bool
    created_at: datetime


def convert(row: OldRow, settings: Settings) -> OldBuyer:
    """Return the buyer. A hash that is none is no proof of a mint and is not taken over."""
    try:
        wallet = check_wallet(row.word("wallet"))
    except BadWallet as error:
        raise Unfit(f"wallet: {error}") from None
    status, tx_hash = row.word("status", _STATUSES), row.text("tx_hash")
    if tx_hash is not None and not _HASH.fullmatch(tx_hash):
        row.note(f"its tx_hash {tx_hash[:20]!r} is no transaction hash; it counts as not minted")
        tx_hash = None
    if status == "active" and tx_hash is None:
        row.note("it is paid and has no transaction; its mint is held until somebody looked at the chain")
    step = {"active": "done" if tx_hash else "mint", "pending_wire": "wire"}.get(status, "")
    license_id, created = row.word("license_id"), row.moment("created_at")
    return OldBuyer(
        id=stable_id("buy", created, SYSTEM, license_id),
        license_id=license_id,
        wallet=wallet,
        tier=row.word("tier"),
        status=status,
        tx_hash=None if tx_hash is None else tx_hash.lower(),
        price=_price(row),
        payment_method=row.text("payment_method") or "",
        email=row.text("email"),
        name=row.text("name"),
        next_step=row.text("next_step") or step,
        receipt_sent=row.flag("receipt_sent"),
        created_at=created,
    )


def _price(row: OldRow) -> int | None:
    for column in _PRICES:
        price = row.number(column)
        if price is None:
            continue
        cents = price * 100
        whole = cents.to_integral_value()
        if not 0 <= whole < Decimal(2**63):
            raise Unfit(f"{column} {price} is no price")
        if whole != cents:
            row.note(f"its price {price} USD is not whole cents and was rounded")
        return int(whole)
    return None


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldBuyer]) -> int:
    """Add the buyers that are not there with their places, history, notices and mints."""
    await tx.execute(TIERS, sorted({one.tier for one in records}))
    return int(await tx.fetchval(ADD, *columns_of(records), ctx.settings.minting, _HELD))


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldBuyer]) -> list[Any]:
    """Return the buyers as they stand in the table."""
    rows = await tx.fetch(READ, [one.license_id for one in records])
    return stored_of(records, rows, "license_id")


IMPORTERS = (
    Importer(
        name="buyers",
        system=SYSTEM,
        table="buyers",
        key=("license_id",),
        needs=("license_id", "wallet", "tier", "status", "tx_hash", "created_at"),
        convert=convert,
        write=write,
        read=read,
    ),
)
