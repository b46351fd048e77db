"""The statements of processing: lock, read and write the states a batch is about, a few statements in all.

Rows that do not exist yet cannot be locked, so states are locked by advisory locks on their identities, taken
in one order by everybody: two batches about one payment wait for each other and never deadlock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wharfd import Queries, Record, sql

from ..model.accounts import Account, HistoryEntry, PaymentMethod
from ..model.derive import Transaction
from ..model.vocabulary import ONBOARDING_STAGE, AccountStatus, Status
from .folding import AccountKey, Cell, Folded, Known, TransactionKey, coarser

SHARDS = 8
_ROWS_AT_ONCE = 100  # encoding more of them at a time would hold up those who wait for an answer

LOCK = sql(
    "lock_states",
    """SELECT pg_advisory_xact_lock(key) FROM (
  SELECT DISTINCT hashtextextended(k, 4711) AS key FROM unnest($1::text[]) k ORDER BY 1) keys""",
)
READ_TRANSACTIONS = sql(
    "read_transactions",
    """SELECT t.id, t.source, t.type, t.external_id, t.owner, t.created_at, t.status, t.status_at, t.amount,
  t.currency, t.merchant_ref, t.method, t.description, t.account_id, t.parent_id, t.settlement_status,
  t.reason, t.mode, t.metadata, t.stamps, t.event_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS k (external_id, source, type)
JOIN netbanx.transactions t USING (external_id, source, type)""",
)
WRITE_TRANSACTIONS = sql(
    "write_transactions",
    """INSERT INTO netbanx.transactions (id, source, type, external_id, owner, created_at, status, status_at,
  amount, currency, merchant_ref, method, description, account_id, parent_id, settlement_status, reason, mode,
  metadata, stamps, event_id)
SELECT id, source, type, external_id, owner, created_at, status, status_at, amount, currency, merchant_ref,
  method, description, account_id, parent_id, settlement_status, reason, mode, metadata, stamps, event_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
  $8::timestamptz[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
  $15::text[], $16::text[], $17::text[], $18::text[], $19::jsonb[], $20::jsonb[], $21::text[])
AS g (id, source, type, external_id, owner, created_at, status, status_at, amount, currency, merchant_ref,
  method, description, account_id, parent_id, settlement_status, reason, mode, metadata, stamps, event_id)
ON CONFLICT (external_id, source, type) DO UPDATE SET updated_at = now(), created_at = excluded.created_at,
  status = excluded.status, status_at = excluded.status_at, amount = excluded.amount,
  currency = excluded.currency, merchant_ref = excluded.merchant_ref, method = excluded.method,
  description = excluded.description, account_id = excluded.account_id, parent_id = excluded.parent_id,
  settlement_status = excluded.settlement_status, reason = excluded.reason, mode = excluded.mode,
  metadata = excluded.metadata, stamps = excluded.stamps, event_id = excluded.event_id""",
)
READ_ACCOUNTS = sql(
    "read_accounts",
    """SELECT a.id, a.source, a.external_id, a.owner, a.first_seen_at, a.status, a.status_at, a.approved_at,
  a.activated_at, a.merchant_id, a.account_name, a.business_name, a.email, a.phone, a.sub_status, a.mode,
  a.stamps, a.event_id,
  ARRAY(SELECT ARRAY[m.type, m.external_id] FROM netbanx.payment_methods m WHERE m.account_id = a.id
        ORDER BY 1) AS methods
FROM unnest($1::text[], $2::text[]) AS k (external_id, source)
JOIN netbanx.accounts a USING (external_id, source)""",
)
WRITE_ACCOUNTS = sql(
    "write_accounts",
    """INSERT INTO netbanx.accounts (id, source, external_id, owner, first_seen_at, status, status_at, stage,
  approved_at, activated_at, merchant_id, account_name, business_name, email, phone, sub_status, mode, stamps,
  event_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
  $7::timestamptz[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
  $14::text[], $15::text[], $16::text[], $17::text[], $18::jsonb[], $19::text[])
ON CONFLICT (external_id, source) DO UPDATE SET updated_at = now(), first_seen_at = excluded.first_seen_at,
  status = excluded.status, status_at = excluded.status_at, stage = excluded.stage,
  approved_at = excluded.approved_at, activated_at = excluded.activated_at,
  merchant_id = excluded.merchant_id, account_name = excluded.account_name,
  business_name = excluded.business_name, email = excluded.email, phone = excluded.phone,
  sub_status = excluded.sub_status, mode = excluded.mode, stamps = excluded.stamps,
  event_id = excluded.event_id""",
)
ADD_HISTORY = sql(
    "add_account_history",
    """INSERT INTO netbanx.account_status_history
  (account_id, identity, at, status, sub_status, reason, mark, event_id)
SELECT * FROM unnest($1::text[], $2::bytea[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
  $7::text[], $8::text[])
ON CONFLICT (account_id, identity) DO NOTHING""",
)
ADD_METHODS = sql(
    "add_payment_methods",
    """INSERT INTO netbanx.payment_methods (account_id, type, external_id)
SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[])
ON CONFLICT (account_id, type, external_id) DO NOTHING""",
)
ROLL_UP = sql(
    "roll_up",
    """INSERT INTO netbanx.rollups AS r
  (grain, bucket, owner, type, status, currency, method, shard, count, amount)
SELECT grain, bucket, owner, type, status, currency, method, $1, count, amount
FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::bigint[], $10::numeric[]) AS g (grain, bucket, owner, type, status, currency, method, count, amount)
ORDER BY grain, bucket, owner, type, status, currency, method
ON CONFLICT (grain, bucket, owner, type, status, currency, method, shard)
DO UPDATE SET count = r.count + excluded.count, amount = r.amount + excluded.amount""",
)


async def lock_states(
    tx: Queries, transactions: Iterable[TransactionKey], accounts: Iterable[AccountKey]
) -> None:
    """Keep every other batch from these states until the transaction ends."""
    names = ["\x1f".join(key) for key in (*transactions, *accounts)]
    if names:
        await tx.fetch(LOCK, names)


async def read_transactions(tx: Queries, keys: Sequence[TransactionKey]) -> dict[TransactionKey, Known]:
    """Return what is known of these transactions."""
    if not keys:
        return {}
    known: dict[TransactionKey, Known] = {}
    for record in await tx.fetch(READ_TRANSACTIONS, *_columns(keys, 3)):
        state = transaction_of(record)
        key = (state.external_id, state.source, state.type)
        known[key] = Known(record["id"], record["owner"], record["event_id"], state, new=False)
    return known


async def read_accounts(tx: Queries, keys: Sequence[AccountKey]) -> dict[AccountKey, Known]:
    """Return what is known of these accounts."""
    if not keys:
        return {}
    known = {}
    for record in await tx.fetch(READ_ACCOUNTS, *_columns(keys, 2)):
        state = _account_of(record)
        key = (state.external_id, state.source)
        known[key] = Known(record["id"], record["owner"], record["event_id"], state, new=False)
    return known


async def write(tx: Queries, folded: Folded) -> None:
    """Write everything a batch changed."""
    changed = sorted((key, known) for key, known in folded.transactions.items() if known.changed)
    for start in range(0, len(changed), _ROWS_AT_ONCE):
        rows = [_transaction_row(known) for _, known in changed[start : start + _ROWS_AT_ONCE]]
        await tx.execute(WRITE_TRANSACTIONS, *_columns(rows, 21))
    moved = sorted((key, known) for key, known in folded.accounts.items() if known.changed)
    if moved:
        await tx.execute(WRITE_ACCOUNTS, *_columns([_account_row(known) for _, known in moved], 19))
    if folded.history:
        await tx.execute(ADD_HISTORY, *_columns([_history_row(*entry) for entry in folded.history], 8))
    if folded.methods:
        rows = [(account, method.type, method.external_id) for account, method in sorted(folded.methods)]
        await tx.execute(ADD_METHODS, *_columns(rows, 3))
    await roll_up(tx, folded.counts, folded.amounts)


async def roll_up(tx: Queries, counts: Mapping[Cell, int], amounts: Mapping[Cell, int]) -> None:
    """Add differences to the roll-ups of every grain; cells that come out even are left alone."""
    sums = coarser(amounts)
    rows = [(*cell, count, sums[cell]) for cell, count in coarser(counts).items() if count or sums[cell]]
    if rows:
        shard = random.randrange(SHARDS)  # noqa: S311 - spreads load
        await tx.execute(ROLL_UP, shard, *_columns(rows, 9))


def transaction_of(record: Record) -> Transaction:
    """Return the state a row of the table holds."""
    return Transaction(
        source=record["source"],
        type=record["type"],
        external_id=record["external_id"],
        created_at=record["created_at"],
        status=Status(record["status"]) if record["status"] else None,
        status_at=record["status_at"],
        amount=record["amount"],
        currency=record["currency"],
        merchant_ref=record["merchant_ref"],
        method=record["method"],
        description=record["description"],
        account_id=record["account_id"],
        parent_id=record["parent_id"],
        settlement_status=record["settlement_status"],
        reason=record["reason"],
        mode=record["mode"],
        metadata=record["metadata"],
        stamps=record["stamps"],
    )


def _transaction_row(known: Known) -> tuple[Any, ...]:
    state: Transaction = known.state
    return (
        known.id,
        state.source,
        state.type,
        state.external_id,
        known.owner,
        state.created_at,
        state.status,
        state.status_at,
        state.amount,
        state.currency,
        state.merchant_ref,
        state.method,
        state.description,
        state.account_id,
        state.parent_id,
        state.settlement_status,
        state.reason,
        state.mode,
        state.metadata,
        state.stamps,
        known.event_id,
    )


def _account_of(record: Record) -> Account:
    return Account(
        source=record["source"],
        external_id=record["external_id"],
        first_seen_at=record["first_seen_at"],
        status=AccountStatus(record["status"]) if record["status"] else None,
        status_at=record["status_at"],
        approved_at=record["approved_at"],
        activated_at=record["activated_at"],
        merchant_id=record["merchant_id"],
        account_name=record["account_name"],
        business_name=record["business_name"],
        email=record["email"],
        phone=record["phone"],
        sub_status=record["sub_status"],
        mode=record["mode"],
        methods=tuple(sorted(PaymentMethod(kind, name) for kind, name in record["methods"])),
        stamps=record["stamps"],
    )


def _account_row(known: Known) -> tuple[Any, ...]:
    state: Account = known.state
    return (
        known.id,
        state.source,
        state.external_id,
        known.owner,
        state.first_seen_at,
        state.status,
        state.status_at,
        ONBOARDING_STAGE.get(state.status) if state.status else None,
        state.approved_at,
        state.activated_at,
        state.merchant_id,
        state.account_name,
        state.business_name,
        state.email,
        state.phone,
        state.sub_status,
        state.mode,
        state.stamps,
        known.event_id,
    )


def _history_row(account_id: str, entry: HistoryEntry, event_id: str) -> tuple[Any, ...]:
    return (
        account_id,
        entry.key,
        entry.at,
        entry.status,
        entry.sub_status,
        entry.reason,
        entry.mark,
        event_id,
    )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
