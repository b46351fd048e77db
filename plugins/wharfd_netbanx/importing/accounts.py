"""`accounts`, `account_status_history` and `payment_methods`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, columns_of, sql, stable_id, stored_of

from ..acceptance.admission import IDENTITY_BYTES
from ..config import Settings
from ..model.ordering import stamp
from .origin import MARK, SYSTEM, source_of

_STATUS = {
    "PENDING": "PENDING",
    "IN_REVIEW": "PROCESSING",
    "APPROVED": "APPROVED",
    "REJECTED": "REJECTED",
    "SUSPENDED": "DISABLED",
}
_STAGES = ("KYC", "DOCUMENTS", "VERIFICATION", "SETUP", "COMPLETE")
# What has no column of its own here is kept beside the row, by the name it had.
_BESIDE = (
    "businessType",
    "industry",
    "website",
    "riskLevel",
    "complianceStatus",
    "creditCardId",
    "directDebitId",
)

ADD = sql(
    "import_accounts",
    """INSERT INTO netbanx.accounts (id, source, external_id, owner, first_seen_at, status, status_at, stage,
  approved_at, activated_at, merchant_id, account_name, business_name, email, phone, sub_status, stamps,
  metadata, event_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[],
  $7::timestamptz[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::text[],
  $14::text[], $15::text[], $16::text[], $17::jsonb[], $18::jsonb[], $19::text[])
ON CONFLICT (external_id, source) DO NOTHING RETURNING id""",
)
READ = sql(
    "read_imported_accounts",
    """SELECT a.id, a.source, a.external_id, a.owner, a.first_seen_at, a.status, a.status_at, a.stage,
  a.approved_at, a.activated_at, a.merchant_id, a.account_name, a.business_name, a.email, a.phone,
  a.sub_status, a.stamps, a.metadata, a.event_id
FROM unnest($1::text[], $2::text[]) AS g (external_id, source)
JOIN netbanx.accounts a USING (external_id, source)""",
)
ADD_HISTORY = sql(
    "import_account_history",
    """INSERT INTO netbanx.account_status_history (account_id, identity, at, status, sub_status, reason, mark,
  event_id)
SELECT a.id, g.identity, g.at, g.status, g.sub_status, g.reason, g.mark, 'import'
FROM unnest($1::text[], $2::bytea[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])
  AS g (old_id, identity, at, status, sub_status, reason, mark)
JOIN netbanx.accounts a ON a.event_id = 'import:' || g.old_id
ON CONFLICT (account_id, identity) DO NOTHING RETURNING identity""",
)
READ_HISTORY = sql(
    "read_imported_history",
    """SELECT g.old_id, h.identity, h.at, h.status, h.sub_status, h.reason, h.mark
FROM unnest($1::text[], $2::bytea[]) AS g (old_id, identity)
JOIN netbanx.accounts a ON a.event_id = 'import:' || g.old_id
JOIN netbanx.account_status_history h ON h.account_id = a.id AND h.identity = g.identity""",
)
ADD_METHODS = sql(
    "import_payment_methods",
    """INSERT INTO netbanx.payment_methods (account_id, type, external_id, added_at)
SELECT a.id, g.type, g.external_id, g.added_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g (old_id, type, external_id, added_at)
JOIN netbanx.accounts a ON a.event_id = 'import:' || g.old_id
ON CONFLICT (account_id, type, external_id) DO NOTHING RETURNING external_id""",
)
READ_METHODS = sql(
    "read_imported_methods",
    """SELECT g.old_id, m.type, m.external_id, m.added_at
FROM unnest($1::text[], $2::text[], $3::text[]) AS g (old_id, type, external_id)
JOIN netbanx.accounts a ON a.event_id = 'import:' || g.old_id
JOIN netbanx.payment_methods m
  ON m.account_id = a.id AND m.type = g.type AND m.external_id = g.external_id""",
)


class OldAccount(msgspec.Struct, frozen=True):
    """An account as it will stand in the table; `event_id` holds its old id, by which the rest finds it."""

    id: str
    source: str
    external_id: str
    owner: str | None
    first_seen_at: datetime
    status: str
    status_at: datetime
    stage: str | None
    approved_at: datetime | None
    activated_at: datetime | None
    merchant_id: str | None
    account_name: str | None
    business_name: str | None
    email: str | None
    phone: str | None
    sub_status: str | None
    stamps: dict[str, str]
    metadata: dict[str, Any]
    event_id: str


class OldStep(msgspec.Struct, frozen=True):
    """One line of an account's history."""

    old_id: str
    identity: bytes
    at: datetime
    status: str
    sub_status: str | None
    reason: str | None
    mark: str


class OldMethod(msgspec.Struct, frozen=True):
    """A payment method of an account."""

    old_id: str
    type: str
    external_id: str
    added_at: datetime


def convert(row: OldRow, settings: Settings) -> OldAccount:
    """Return the account; it was at least approved when it is suspended."""
    external, created = row.word("externalId"), row.moment("createdAt")
    changed = row.time("updatedAt") or created
    stage = row.text("onboardingStage")
    mark = stamp(stage=0, at=changed, rank=0, content=external.encode("utf-8", "replace"))
    texts = {
        "merchant_id": row.text("merchantId"),
        "account_name": row.text("accountName"),
        "business_name": row.text("businessName"),
        "email": row.text("email"),
        "phone": row.text("phone"),
        "sub_status": row.text("subStatus"),
    }
    stamps = {name: mark for name, value in texts.items() if value is not None}
    beside = {name: row.text(name) for name in _BESIDE if row.text(name) is not None}
    return OldAccount(
        id=stable_id("acc", created, SYSTEM, external),
        source=source_of(settings),
        external_id=external,
        owner=row.text("companyId"),
        first_seen_at=created,
        status=_STATUS[row.word("status", tuple(_STATUS))],
        status_at=changed,
        stage=None if stage is None else row.word("onboardingStage", _STAGES),
        approved_at=row.time("approvedAt"),
        activated_at=row.time("activatedAt"),
        stamps={**stamps, "status": mark, "status_at": mark},
        metadata=row.mapping("metadata") | beside,
        event_id=f"{MARK}:{row.word('id')}",
        **texts,
    )


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldAccount]) -> int:
    """Add the accounts that are not there."""
    return len(await tx.fetch(ADD, *columns_of(records)))


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldAccount]) -> list[Any]:
    """Return the accounts as they stand in the table."""
    rows = await tx.fetch(READ, [one.external_id for one in records], [one.source for one in records])
    return stored_of(records, rows, "source", "external_id")


def convert_history(row: OldRow, settings: Settings) -> OldStep:
    """Return a line of history; its identity is made of what it says."""
    at, account = row.moment("timestamp"), row.word("accountId")
    status = _STATUS[row.word("toStatus", tuple(_STATUS))]
    facts = "\x1f".join((SYSTEM, account, at.isoformat(), status, row.text("id") or ""))
    identity = sha256(facts.encode("utf-8", "surrogatepass")).digest()[:IDENTITY_BYTES]
    reason = ": ".join(filter(None, (row.text("reason"), row.text("description"))))
    mark = stamp(stage=0, at=at, rank=0, content=identity)
    return OldStep(account, identity, at, status, row.text("subStatus"), reason or None, mark)


async def write_history(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldStep]) -> int:
    """Add the lines that are not there; one of an account that is not there is missing in the comparison."""
    return len(await tx.fetch(ADD_HISTORY, *columns_of(records)))


async def read_history(
    ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldStep]
) -> list[Any]:
    """Return the lines as they stand in the table."""
    rows = await tx.fetch(READ_HISTORY, [one.old_id for one in records], [one.identity for one in records])
    return stored_of(records, rows, "identity")


def convert_method(row: OldRow, settings: Settings) -> OldMethod:
    """Return a payment method; what the old system said about it beyond its id is not kept here."""
    kinds = ("CREDIT_CARD", "DIRECT_DEBIT", "ACH", "WIRE_TRANSFER")
    at = row.time("createdAt") or row.moment("updatedAt")
    external = row.text("externalId") or row.word("name")
    return OldMethod(row.word("accountId"), row.word("type", kinds), external, at)


async def write_methods(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldMethod]) -> int:
    """Add the payment methods that are not there."""
    return len(await tx.fetch(ADD_METHODS, *columns_of(records)))


async def read_methods(
    ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldMethod]
) -> list[Any]:
    """Return the payment methods as they stand in the table."""
    rows = await tx.fetch(
        READ_METHODS,
        [one.old_id for one in records],
        [one.type for one in records],
        [one.external_id for one in records],
    )
    return stored_of(records, rows, "old_id", "type", "external_id")


ACCOUNTS = Importer(
    name="accounts",
    system=SYSTEM,
    table="accounts",
    key=("id",),
    needs=("id", "externalId", "status", "createdAt"),
    convert=convert,
    write=write,
    read=read,
)
HISTORY = Importer(
    name="account_history",
    system=SYSTEM,
    table="account_status_history",
    key=("id",),
    needs=("id", "accountId", "toStatus", "timestamp"),
    convert=convert_history,
    write=write_history,
    read=read_history,
    after=("accounts",),
)
METHODS = Importer(
    name="payment_methods",
    system=SYSTEM,
    table="payment_methods",
    key=("id",),
    needs=("id", "accountId", "type"),
    convert=convert_method,
    write=write_methods,
    read=read_methods,
    after=("accounts",),
)
