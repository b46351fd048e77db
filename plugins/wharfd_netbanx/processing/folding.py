"""A batch of events folded into the states it is about: pure, so that the transaction around it stays short.

`read` says what each event changes; `fold` applies the changes to what is known and collects what to write,
what to publish, and by how much the roll-ups change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from wharfd.contracts.events import Event

from ..model.accounts import (
    Account,
    AccountChange,
    HistoryEntry,
    PaymentMethod,
    announce_account,
    apply_account,
    read_account_change,
)
from ..model.derive import Transaction, TransactionChange, announce, apply, read_change
from ..model.envelope import Unreadable, parse
from ..model.identity import Identity

# The bucket of what is counted over all times.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TransactionKey = tuple[str, str, str]
AccountKey = tuple[str, str]


class EventRow(msgspec.Struct, frozen=True):
    """The columns of a stored event that processing needs."""

    id: str
    received_at: datetime
    source: str
    owner: str | None
    trace_id: str
    identity: bytes
    content: bytes
    body: bytes


class Change(NamedTuple):
    """What one event changes; both None for an event that is only kept."""

    row: EventRow
    transaction: TransactionChange | None
    account: AccountChange | None
    tags: tuple[str, ...]


class Cell(NamedTuple):
    """One cell of the roll-ups."""

    grain: str
    bucket: datetime
    owner: str
    type: str
    status: str
    currency: str
    method: str


@dataclass
class Known:
    """A state and the row it lives in. `changed` says that it must be written."""

    id: str
    owner: str | None
    event_id: str
    state: Any
    new: bool
    changed: bool = False


@dataclass
class Folded:
    """What is known of what a batch is about, and then what came of it."""

    transactions: dict[TransactionKey, Known] = field(default_factory=dict)
    accounts: dict[AccountKey, Known] = field(default_factory=dict)
    history: list[tuple[str, HistoryEntry, str]] = field(default_factory=list)
    methods: list[tuple[str, PaymentMethod]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    counts: Counter[Cell] = field(default_factory=Counter)  # transactions by the minute alone
    amounts: Counter[Cell] = field(default_factory=Counter)
    tags: set[str] = field(default_factory=set)


def read(row: EventRow) -> Change:
    """Say what a stored event changes. A body nobody can read changes nothing and is no error."""
    envelope = parse(row.body)
    if isinstance(envelope, Unreadable):
        return Change(row, None, None, ())
    identity = Identity(row.identity, row.content, "event")
    return Change(
        row,
        read_change(row.source, envelope, identity, row.received_at),
        read_account_change(row.source, envelope, identity, row.received_at),
        envelope.meaning.tags,
    )


def transaction_key(change: TransactionChange) -> TransactionKey:
    """Return what identifies the transaction of a change."""
    return (change.external_id, change.source, change.type)


def account_key(change: AccountChange) -> AccountKey:
    """Return what identifies the account of a change."""
    return (change.external_id, change.source)


def fold(
    folded: Folded, changes: Iterable[Change], *, new_id: Callable[[str], str], at_once: int
) -> Iterator[None]:
    """Apply the changes to what is known; the states that result do not depend on the order of changes.

    What is announced on the way does, so they are taken in the order they happened as far as that is known.
    Yields after every few changes, so that the caller can let others run.
    """
    before: dict[TransactionKey, Transaction | None] = {}
    for number, change in enumerate(sorted(changes, key=_happened), 1):
        folded.tags.update(change.tags)
        if change.transaction is not None:
            _fold_transaction(folded, before, change, change.transaction, new_id)
        if change.account is not None:
            _fold_account(folded, change, change.account, new_id)
        if not number % at_once:
            yield
    for key, known in folded.transactions.items():
        if known.changed:
            count_state(folded, before[key], -1, known.owner)
            count_state(folded, known.state, 1, known.owner)


def _happened(change: Change) -> datetime:
    fact = change.transaction or change.account
    return fact.happened_at if fact is not None else change.row.received_at


def _fold_transaction(
    folded: Folded,
    before: dict[TransactionKey, Transaction | None],
    change: Change,
    fact: TransactionChange,
    new_id: Callable[[str], str],
) -> None:
    key = transaction_key(fact)
    known = folded.transactions.get(key)
    old: Transaction | None = known.state if known is not None else None
    state = apply(old, fact)
    if known is None:
        known = folded.transactions[key] = Known(
            new_id("txn"), change.row.owner, change.row.id, None, new=True
        )
    before.setdefault(key, old)
    if state is old:
        return
    known.state, known.changed, known.event_id = state, True, change.row.id
    event = announce(old, state, transaction_id=known.id, source_event_id=change.row.id, owner=known.owner)
    if event is not None:
        folded.events.append(event)
        folded.traces.append(change.row.trace_id)


def _fold_account(folded: Folded, change: Change, fact: AccountChange, new_id: Callable[[str], str]) -> None:
    key = account_key(fact)
    known = folded.accounts.get(key)
    old: Account | None = known.state if known is not None else None
    state = apply_account(old, fact)
    if known is None:
        known = folded.accounts[key] = Known(new_id("acc"), change.row.owner, change.row.id, None, new=True)
    if fact.entry is not None:
        folded.history.append((known.id, fact.entry, change.row.id))
    folded.methods += [(known.id, method) for method in fact.methods]
    if state == old:
        return
    known.state, known.changed, known.event_id = state, True, change.row.id
    event = announce_account(
        old, state, account_id=known.id, source_event_id=change.row.id, owner=known.owner
    )
    if event is not None:
        folded.events.append(event)
        folded.traces.append(change.row.trace_id)


def tally(folded: Folded, rows: Iterable[EventRow], at: datetime) -> None:
    """Count the events that were worked, per hour and over all times, by source (in place of the method)."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for row in rows:
        for grain, bucket in (("hour", hour), ("all", EPOCH)):
            folded.counts[Cell(grain, bucket, row.owner or "", "EVENT", "", "", row.source)] += 1


def count_state(folded: Folded, state: Transaction | None, by: int, owner: str | None) -> None:
    """Add a transaction to the minute it counts in, or with `by=-1` take it out; `coarser` does the rest."""
    if state is None:
        return
    cell = Cell(
        "minute",
        state.created_at.astimezone(UTC).replace(second=0, microsecond=0),
        owner or "",
        state.type,
        state.status.value if state.status else "",
        state.currency or "",
        state.method or "",
    )
    folded.counts[cell] += by
    if state.amount:
        folded.amounts[cell] += by * state.amount


def coarser(counts: Mapping[Cell, int]) -> Counter[Cell]:
    """Return the counts with every minute counted in its hour, its day and over all times, too."""
    summed: Counter[Cell] = Counter(counts)
    for cell, by in counts.items():
        if cell.grain == "minute":
            hour = cell.bucket.replace(minute=0)
            for grain, bucket in (("hour", hour), ("day", hour.replace(hour=0)), ("all", EPOCH)):
                summed[cell._replace(grain=grain, bucket=bucket)] += by
    return summed
