"""`transactions`: amounts were floats in major units; here they are whole minor units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, stable_id

from ..config import Settings
from ..model.derive import STAGES, Type
from ..model.derive import Transaction as State
from ..model.money import convert as to_minor
from ..model.ordering import stamp
from ..model.vocabulary import OLD_STATUS, Status
from ..processing import store
from ..processing.folding import Folded, Known, TransactionKey, count_state
from .origin import MARK, SYSTEM, source_of

_STATUS = {
    OLD_STATUS[status]: status
    for status in (Status.PENDING, Status.CANCELLED, Status.FAILED, Status.COMPLETED)
}


class OldTransaction(msgspec.Struct, frozen=True):
    """A transaction as it will stand in the table."""

    id: str
    owner: str | None
    event_id: str
    state: State


def convert(row: OldRow, settings: Settings) -> OldTransaction:
    """Return the transaction, with stamps of its last change: a later event still moves it."""
    external, created = row.word("externalId"), row.moment("createdAt")
    status = _STATUS[row.word("status", tuple(_STATUS))]
    changed = row.time("transactionTime") or row.time("updatedAt") or created
    currency = row.word("currency").upper()
    metadata = {name: value for name, value in row.mapping("metadata").items() if value is not None}
    try:
        money = to_minor(row.number("amount") or 0, currency)
    except ValueError as error:
        raise Unfit(f"amount: {error}") from None
    if not money.exact:
        row.note(
            f"its amount {money.remark.split(';')[0]} ({currency}); the old value is kept in its metadata"
        )
        metadata["importedAmount"] = row.text("amount")
    facts: dict[str, Any] = {
        "amount": money.amount,
        "currency": currency,
        "merchant_ref": row.text("merchantRefNum"),
        "method": row.text("paymentMethod"),
        "description": row.text("description"),
        "metadata": metadata or None,
    }
    mark = external.encode("utf-8", "replace")
    fact = stamp(stage=1, at=changed, rank=0, content=mark)
    stage, rank = STAGES[status]
    moved = stamp(stage=stage, at=changed, rank=rank, content=mark)
    stamps = {name: fact for name, value in facts.items() if value is not None}
    stamps |= {"status": moved, "status_at": moved}
    state = State(
        source=source_of(settings),
        type=row.word("transactionType", get_args(Type)),  # type: ignore[arg-type]
        external_id=external,
        created_at=created,
        status=status,
        status_at=changed,
        stamps=stamps,
        **{**facts, "metadata": metadata},
    )
    event = MARK if row.text("webhookEventId") is None else f"{MARK}:{row.text('webhookEventId')}"
    return OldTransaction(stable_id("txn", created, SYSTEM, external), row.text("companyId"), event, state)


def _key(one: OldTransaction) -> TransactionKey:
    return (one.state.external_id, one.state.source, one.state.type)


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldTransaction]) -> int:
    """Add the transactions that are not there and count them into the roll-ups."""
    wanted = {_key(one): one for one in records}
    await store.lock_states(tx, wanted, ())
    known = await store.read_transactions(tx, list(wanted))
    folded = Folded()
    for key, one in wanted.items():
        if key not in known:
            folded.transactions[key] = Known(
                one.id, one.owner, one.event_id, one.state, new=True, changed=True
            )
            count_state(folded, one.state, 1, one.owner)
    await store.write(tx, folded)
    return len(folded.transactions)


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldTransaction]) -> list[Any]:
    """Return the transactions as they stand in the table."""
    known = await store.read_transactions(tx, list({_key(one): None for one in records}))
    found = {key: OldTransaction(one.id, one.owner, one.event_id, one.state) for key, one in known.items()}
    return [found.get(_key(one)) for one in records]


TRANSACTIONS = Importer(
    name="transactions",
    system=SYSTEM,
    table="transactions",
    key=("id",),
    needs=("id", "externalId", "amount", "currency", "status", "transactionType", "createdAt"),
    convert=convert,
    write=write,
    read=read,
)
