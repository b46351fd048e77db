"""Nonces and signed transactions: what stands between a crash and a second mint.

A nonce is taken, and its transaction kept, in one database transaction that holds the signer's row: one
writer per signer, whichever daemon it is. Afterwards the bytes may be sent by anybody and any number of
times.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec

from wharfd import Database, Record, Transaction, sql

from ..model.decisions import Attempt, Receipt
from ..model.failures import Failure
from ..model.fees import Fees

_SIGNER = sql(
    "ensure_signer",
    "INSERT INTO mint.signers (chain_id, signer) VALUES ($1, $2) ON CONFLICT DO NOTHING",
)
_WRITE = sql(
    "become_writer",
    """UPDATE mint.signers SET fence = fence + 1, writer = $3 WHERE chain_id = $1 AND signer = $2
RETURNING fence, CASE WHEN paused_until > now() THEN paused_for END AS paused_for""",
)
# The first nonce from the account's count on that no mint ever held: a gap is filled before anything else.
_FREE = sql(
    "free_nonce",
    """SELECT n FROM generate_series($3::bigint, $3::bigint + (
    SELECT count(*) FROM mint.nonces WHERE chain_id = $1 AND signer = $2 AND nonce >= $3)) n
WHERE NOT EXISTS (SELECT FROM mint.nonces x WHERE x.chain_id = $1 AND x.signer = $2 AND x.nonce = n)
ORDER BY n LIMIT 1""",
)
_IN_FLIGHT = sql(
    "nonces_in_flight", "SELECT count(*) FROM mint.nonces WHERE chain_id = $1 AND signer = $2 AND open"
)
_SPENT = sql(
    "spent_on_day",
    """SELECT coalesce(sum(coalesce(spent, reserved)), 0) FROM mint.nonces
WHERE chain_id = $1 AND signer = $2 AND day = $3""",
)
_OPEN = sql(
    "open_nonce",
    """INSERT INTO mint.nonces (chain_id, signer, nonce, intent_id, held_by, fence, day, reserved)
VALUES ($1, $2, $3, $4, $4, $5, $6, $7)""",
)
_RESERVE = sql(
    "reserve_more",
    """UPDATE mint.nonces SET reserved = greatest(reserved, $4), fence = $5
WHERE chain_id = $1 AND signer = $2 AND nonce = $3 AND open""",
)
_KEEP = sql(
    "keep_attempt",
    """INSERT INTO mint.attempts
  (intent_id, chain_id, signer, nonce, kind, hash, raw, gas, max_fee, priority_fee, signed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (hash) DO NOTHING""",
)
_HELD = sql(
    "held_nonce",
    """SELECT n.nonce, a.hash, a.kind, a.raw, a.gas, a.max_fee, a.priority_fee, a.signed_at, a.sent,
  a.sent_at, a.failure, a.block
FROM mint.nonces n JOIN mint.attempts a USING (chain_id, signer, nonce)
WHERE n.held_by = $1 AND n.open ORDER BY a.id""",
)
_PAST = sql(
    "past_nonces",
    """SELECT count(*) FILTER (WHERE outcome = 'reverted') AS reverts,
  count(*) FILTER (WHERE outcome = 'foreign' OR held_by <> intent_id) AS stolen
FROM mint.nonces WHERE intent_id = $1 AND held_by IS DISTINCT FROM (CASE WHEN open THEN $1 END)""",
)
_SENT = sql(
    "mark_sent",
    """UPDATE mint.attempts SET sent = sent + 1, first_sent_at = coalesce(first_sent_at, $2), sent_at = $2,
  endpoint = $3, failure = $4, error = $5 WHERE hash = $1""",
)
_MINED = sql(
    "mark_mined",
    """UPDATE mint.attempts SET block = $2, block_hash = $3, mined_ok = $4, gas_used = $5, gas_price = $6
WHERE hash = $1 AND (block, block_hash) IS DISTINCT FROM ($2, $3)""",
)
_ORPHANED = sql(
    "mark_orphaned",
    """UPDATE mint.attempts SET block = NULL, block_hash = NULL, mined_ok = NULL, reorged = reorged + 1,
  sent_at = NULL WHERE hash = $1 AND block IS NOT NULL""",
)
_CLOSE = sql(
    "close_nonce",
    """UPDATE mint.nonces SET open = false, outcome = $4, tx_hash = $5, spent = $6, closed_at = now()
WHERE chain_id = $1 AND signer = $2 AND nonce = $3 AND open""",
)
_REOPEN = sql(
    "reopen_nonce",
    """UPDATE mint.nonces SET open = true, outcome = NULL, closed_at = NULL, spent = NULL
WHERE intent_id = $1 AND held_by = $1 AND tx_hash = $2 AND NOT open""",
)
_KNOWS = sql("knows_attempt", "SELECT EXISTS (SELECT FROM mint.attempts WHERE intent_id = $1 AND hash = $2)")
_PAUSE = sql(
    "pause_signer",
    """UPDATE mint.signers SET paused_until = now() + make_interval(secs => $3), paused_for = $4
WHERE chain_id = $1 AND signer = $2""",
)
_RESUME = sql(
    "resume_signer",
    """UPDATE mint.signers SET paused_until = NULL, paused_for = NULL
WHERE chain_id = $1 AND signer = $2 AND paused_for IS NOT NULL""",
)
_SAW = sql(
    "note_signer",
    """UPDATE mint.signers SET balance = $3, nonce = $4, seen_at = $5 WHERE chain_id = $1 AND signer = $2""",
)
_GET = sql(
    "get_signer",
    """SELECT s.*, (SELECT count(*) FROM mint.nonces n WHERE n.chain_id = s.chain_id AND n.signer = s.signer
  AND n.open) AS in_flight
FROM mint.signers s WHERE s.chain_id = $1 AND s.signer = $2""",
)
# Nonces from the account's count on that nobody holds although a later one is open: they hold that one up.
# Also those that were given up as used and, as the count shows, are not.
_GAPS = sql(
    "nonce_gaps",
    """SELECT n FROM generate_series($3::bigint, least($3 + 1000, (
    SELECT coalesce(max(nonce), -1) FROM mint.nonces WHERE chain_id = $1 AND signer = $2 AND open))) n
WHERE NOT EXISTS (SELECT FROM mint.nonces x WHERE x.chain_id = $1 AND x.signer = $2 AND x.nonce = n
  AND (x.open OR x.outcome = 'mined'))
ORDER BY n""",
)
_REVIVE = sql(
    "revive_nonce",
    """UPDATE mint.nonces SET open = true, outcome = NULL, closed_at = NULL, spent = NULL, held_by = $4
WHERE chain_id = $1 AND signer = $2 AND nonce = $3 AND NOT open AND outcome <> 'mined'""",
)
_FILLERS = sql(
    "open_fillers",
    """SELECT held_by FROM mint.nonces
WHERE chain_id = $1 AND signer = $2 AND open AND held_by LIKE 'gap:%' ORDER BY nonce LIMIT 50""",
)


class Account(msgspec.Struct, frozen=True):
    """A signer on a chain."""

    chain_id: int
    signer: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A signed transaction."""

    kind: str
    nonce: int
    hash: str
    raw: bytes
    gas: int
    fees: Fees
    at: datetime


class Held(msgspec.Struct, frozen=True):
    """The open nonce of a mint with all transactions signed for it, oldest first."""

    nonce: int
    attempts: tuple[Attempt, ...]
    raws: dict[str, bytes]
    fees: Fees
    gas: int
    seen: frozenset[str]


async def ensure(db: Database, account: Account) -> None:
    """Make the signer known."""
    await db.execute(_SIGNER, account.chain_id, account.signer)


async def become_writer(tx: Transaction, account: Account, writer: str) -> tuple[int, str | None]:
    """Lock the signer until the transaction ends; returns the fence, and why it is paused if it is."""
    row = await tx.fetchrow(_WRITE, account.chain_id, account.signer, writer)
    assert row is not None
    return row["fence"], row["paused_for"]


async def free_nonce(tx: Transaction, account: Account, count: int) -> int:
    """Return the first nonce from `count` on that was never held."""
    return int(await tx.fetchval(_FREE, account.chain_id, account.signer, count))


async def in_flight(tx: Transaction, account: Account) -> int:
    """Return how many nonces are open."""
    return int(await tx.fetchval(_IN_FLIGHT, account.chain_id, account.signer))


async def spent(db: Database | Transaction, account: Account, day: date) -> int:
    """Return what was spent on a day, counting what is open at its worst."""
    return int(await db.fetchval(_SPENT, account.chain_id, account.signer, day))


async def open_nonce(
    tx: Transaction, account: Account, nonce: int, intent_id: str, fence: int, day: date, reserved: int
) -> None:
    """Give the nonce to a mint."""
    await tx.execute(_OPEN, account.chain_id, account.signer, nonce, intent_id, fence, day, Decimal(reserved))


async def revive(tx: Transaction, account: Account, nonce: int, holder: str) -> bool:
    """Take up a nonce that was given up and is not used; False when there is none such."""
    return await tx.execute(_REVIVE, account.chain_id, account.signer, nonce, holder) == 1


async def reserve(tx: Transaction, account: Account, nonce: int, fence: int, reserved: int) -> bool:
    """Raise what the open nonce may cost; False when it is not open any more."""
    done = await tx.execute(_RESERVE, account.chain_id, account.signer, nonce, Decimal(reserved), fence)
    return done == 1


async def keep(tx: Transaction, account: Account, intent_id: str, signed: Signed) -> None:
    """Keep a signed transaction; only what was committed here may be sent."""
    await tx.execute(
        _KEEP, intent_id, account.chain_id, account.signer, signed.nonce, signed.kind, signed.hash,
        signed.raw, signed.gas, Decimal(signed.fees.max_fee), Decimal(signed.fees.priority), signed.at,
    )  # fmt: skip


async def held(db: Database | Transaction, intent_id: str) -> Held | None:
    """Return the open nonce of a mint; None when it holds none."""
    rows = await db.fetch(_HELD, intent_id)
    return held_of(rows) if rows else None


def held_of(rows: list[Record]) -> Held:
    """Make one of the rows of one nonce."""
    last = rows[-1]
    return Held(
        nonce=last["nonce"],
        attempts=tuple(
            Attempt(
                row["hash"], row["kind"], row["signed_at"], row["sent"], row["sent_at"],
                None if row["failure"] is None else Failure[row["failure"]],
            )
            for row in rows
        ),
        raws={row["hash"]: row["raw"] for row in rows},
        fees=Fees(max(int(r["max_fee"]) for r in rows), max(int(r["priority_fee"]) for r in rows)),
        gas=max(row["gas"] for row in rows if row["kind"] == last["kind"]),
        seen=frozenset(row["hash"] for row in rows if row["block"] is not None),
    )  # fmt: skip


async def past(db: Database | Transaction, intent_id: str) -> tuple[int, int]:
    """Return how many nonces of the mint ended in a revert, and how many somebody else used."""
    row = await db.fetchrow(_PAST, intent_id)
    assert row is not None
    return row["reverts"], row["stolen"]


async def mark_sent(
    db: Database, tx_hash: str, at: datetime, endpoint: str, failure: Failure | None, error: str | None
) -> None:
    """Note a broadcast and what it met."""
    name = None if failure is None else failure.name
    await db.execute(_SENT, tx_hash, at, endpoint, name, error if error is None else error[:500])


async def mark_mined(db: Database | Transaction, tx_hash: str, receipt: Receipt) -> None:
    """Note the block a transaction is in."""
    await db.execute(
        _MINED, tx_hash, receipt.block, receipt.block_hash, receipt.ok, receipt.gas_used,
        Decimal(receipt.gas_price),
    )  # fmt: skip


async def mark_orphaned(db: Database | Transaction, tx_hash: str) -> None:
    """Note that the block a transaction was in is gone: it is to be sent again at once."""
    await db.execute(_ORPHANED, tx_hash)


async def close(
    tx: Transaction, account: Account, nonce: int, outcome: str, tx_hash: str | None, spent_wei: int | None
) -> None:
    """Note that the nonce is used up for good."""
    cost = None if spent_wei is None else Decimal(spent_wei)
    await tx.execute(_CLOSE, account.chain_id, account.signer, nonce, outcome, tx_hash, cost)


async def knows(db: Database, intent_id: str, tx_hash: str) -> bool:
    """Return whether the transaction is one that was signed for this mint."""
    return bool(await db.fetchval(_KNOWS, intent_id, tx_hash))


async def reopen(tx: Transaction, intent_id: str, tx_hash: str) -> bool:
    """Take a nonce up again whose transaction a reorganisation took out of the chain."""
    if await tx.execute(_REOPEN, intent_id, tx_hash) == 0:
        return False
    await mark_orphaned(tx, tx_hash)
    return True


async def pause(db: Database, account: Account, seconds: float, reason: str) -> None:
    """Sign nothing new for so long."""
    await db.execute(_PAUSE, account.chain_id, account.signer, seconds, reason[:300])


async def resume(db: Database, account: Account) -> bool:
    """Sign again; False when there was no pause."""
    return await db.execute(_RESUME, account.chain_id, account.signer) == 1


async def note(db: Database, account: Account, balance: int, nonce: int, at: datetime) -> None:
    """Keep what the chain says of the account."""
    await db.execute(_SAW, account.chain_id, account.signer, Decimal(balance), nonce, at)


async def get(db: Database, account: Account) -> Record | None:
    """Return what is known of the signer."""
    return await db.fetchrow(_GET, account.chain_id, account.signer)


async def gaps(db: Database | Transaction, account: Account, count: int) -> list[int]:
    """Return the nonces that nobody holds although later ones are open."""
    return [row["n"] for row in await db.fetch(_GAPS, account.chain_id, account.signer, count)]


async def fillers(db: Database, account: Account) -> list[str]:
    """Return the ids under which open nonces are held that only fill a gap."""
    return [row["held_by"] for row in await db.fetch(_FILLERS, account.chain_id, account.signer)]
