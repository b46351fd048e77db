"""State does not depend on order or repeats, a late PROCESSING undoes nothing, a RETURN does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wharfd.contracts.payments import PaymentFailed, PaymentReceived, PaymentRefunded
from wharfd_netbanx.model.accounts import (
    announce_account,
    apply_account,
    order_history,
    read_account_change,
)
from wharfd_netbanx.model.derive import announce, apply, read_amount, read_change, read_currency
from wharfd_netbanx.model.envelope import Envelope, parse
from wharfd_netbanx.model.identity import identify
from wharfd_netbanx.model.vocabulary import AccountStatus, Status
from wharfd_netbanx.samples import sample_document

AT = datetime(2026, 8, 1, 12, tzinfo=UTC)
RECEIVED = AT + timedelta(days=30)


def received(document, at=RECEIVED, reader=read_change):
    body = msgspec.json.encode(document)
    envelope = parse(body)
    assert isinstance(envelope, Envelope)
    return reader("netbanx", envelope, identify("netbanx", body, envelope), at)


def event(name, minute=0, status=None, **payload):
    time = (AT + timedelta(minutes=minute)).isoformat()
    returned = name.startswith("PAYMENT_RETURN")
    what = {"id": "r1", "paymentId": "p1"} if returned else {"id": "p1"}
    status = status or name.rsplit("_", 1)[1]
    return {"eventName": name, "payload": what | {"status": status, "statusTime": time} | payload}


def fold(documents):
    state = None
    for document in documents:
        change = received(document)
        assert change is not None
        state = apply(state, change)
    return state


PROCESSING = event("PAYMENT_PROCESSING", 1, amount=100, currencyCode="eur", merchantRefNum="m1")
COMPLETED = event("PAYMENT_COMPLETED", 2, amount=100, paymentType="EPS", txnTime="2026-08-01T11:00:00Z")
RETURN = event("PAYMENT_RETURN_COMPLETED", 5000, amount=100, currencyCode="EUR", reason="No Funds")


@pytest.mark.parametrize(
    ("documents", "status"),
    [
        ([COMPLETED, PROCESSING], Status.COMPLETED),
        # Even a late PROCESSING that claims a later time undoes nothing.
        ([COMPLETED, event("PAYMENT_PROCESSING", 99)], Status.COMPLETED),
        ([COMPLETED, event("PAYMENT_HELD", 99)], Status.COMPLETED),
        ([RETURN, COMPLETED, PROCESSING], Status.RETURNED),
        ([event("PAYMENT_FAILED", 1), event("PAYMENT_COMPLETED", 2)], Status.COMPLETED),
        ([event("PAYMENT_COMPLETED", 1), event("PAYMENT_CANCELLED", 2)], Status.CANCELLED),
        ([event("PAYMENT_COMPLETED", 1), event("PAYMENT_FAILED", 1)], Status.COMPLETED),
        ([event("PAYMENT_RETURN_PENDING", 3), COMPLETED], Status.COMPLETED),
        ([event("PAYMENT_NOVEL", 9, status="SOMETHING")], None),
    ],
)
def test_status_in_every_order(documents, status):
    for order in permutations(documents):
        assert fold(order).status is status


def test_the_fields_of_a_payment():
    state = fold([RETURN, COMPLETED, PROCESSING])
    assert (state.amount, state.currency, state.merchant_ref, state.method) == (100, "EUR", "m1", "EPS")
    assert (state.status, state.reason) == (Status.RETURNED, "No Funds")
    assert state.status_at == AT + timedelta(minutes=5000)
    assert state.created_at == datetime(2026, 8, 1, 11, tzinfo=UTC)
    assert state.external_id == "p1"


def test_what_a_return_says_of_its_payment_gives_way_to_the_payment():
    partial = event("PAYMENT_RETURN_COMPLETED", 5000, amount=40, currencyCode="EUR")
    assert fold([partial]).amount == 40
    assert fold([partial, COMPLETED]).amount == fold([COMPLETED, partial]).amount == 100


def test_a_payment_that_came_good_carries_no_reason():
    failed = event("PAYMENT_FAILED", 1, error={"message": "declined"})
    assert fold([failed]).reason == "declined"
    assert fold([failed, COMPLETED]).reason == ""


def test_a_return_without_its_payment_changes_nothing():
    document = event("PAYMENT_RETURN_COMPLETED", 1)
    del document["payload"]["paymentId"]
    assert received(document) is None


def test_a_time_far_ahead_does_not_pin_the_state():
    ahead = event("PAYMENT_FAILED", 60 * 24 * 365 * 100)
    assert fold([ahead, event("PAYMENT_COMPLETED", 60 * 24 * 30 + 10)]).status is Status.COMPLETED


NAMES = st.sampled_from(
    [
        "PAYMENT_RECEIVED",
        "PAYMENT_PENDING",
        "PAYMENT_PROCESSING",
        "PAYMENT_HELD",
        "PAYMENT_COMPLETED",
        "PAYMENT_FAILED",
        "PAYMENT_CANCELLED",
        "PAYMENT_EXPIRED",
        "PAYMENT_RETURN_COMPLETED",
        "PAYMENT_RETURN_PENDING",
    ]
)
EVENTS = st.builds(
    lambda name, minute, extra: event(name, minute, **extra),
    NAMES,
    st.integers(0, 3),
    st.fixed_dictionaries(
        {},
        optional={
            "amount": st.integers(1, 3),
            "currencyCode": st.sampled_from(["EUR", "USD"]),
            "merchantRefNum": st.sampled_from(["m1", "m2"]),
            "txnTime": st.sampled_from(["2026-08-01T10:00:00Z", "2026-08-01T11:00:00Z"]),
            "reason": st.sampled_from(["a", "b"]),
        },
    ),
)


@given(events=st.lists(EVENTS, min_size=1, max_size=6), data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_order_and_any_repeats_end_in_the_same_state(events, data):
    expected = fold(events)
    again = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    assert fold(again) == expected


@given(events=st.lists(EVENTS, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_repeat_changes_nothing_at_all(events):
    state = fold(events)
    for document in events:
        assert apply(state, received(document)) == state


def test_samples_derive_what_they_show():
    for sample, kind, status in (
        ("payment-completed", "PAYMENT", Status.COMPLETED),
        ("refund-completed", "REFUND", Status.COMPLETED),
        ("payout-completed", "PAYOUT", Status.COMPLETED),
        ("debit-cleared", "SETTLEMENT", Status.CLEARED),
        ("debit-returned", "PAYMENT", Status.RETURNED),
        ("alternate-completed", "PAYMENT", Status.COMPLETED),
    ):
        change = received(sample_document(sample, at=AT))
        assert change is not None
        state = apply(None, change)
        assert (state.type, state.status) == (kind, status)
        assert state.amount is not None
    for sample in ("handle-payable", "account-enabled", "wallet-iban", "connectivity-test"):
        assert received(sample_document(sample, at=AT)) is None
    debit = received(sample_document("debit-completed", at=AT))
    bounced = received(sample_document("debit-returned", at=AT))
    assert debit.external_id == bounced.external_id


# -- what the world is told ----------------------------------------------------------------------------------


def told(documents):
    state, found = None, []
    for document in documents:
        change = received(document)
        after = apply(state, change)
        said = announce(state, after, transaction_id="txn_1", source_event_id="evt_1", owner="acme")
        found.append(said)
        state = after
    return found


def test_announcements():
    assert [type(e) for e in told([PROCESSING, COMPLETED, COMPLETED, RETURN])] == [
        type(None),
        PaymentReceived,
        type(None),
        PaymentFailed,
    ]
    # Money that was already known to have bounced is never announced as received.
    assert [type(e) for e in told([RETURN, COMPLETED])] == [PaymentFailed, type(None)]
    refund = sample_document("refund-completed", at=AT)
    assert [type(e) for e in told([refund, refund])] == [PaymentRefunded, type(None)]
    assert told([sample_document("debit-cleared", at=AT)]) == [None]
    said = told([PROCESSING, COMPLETED])[1]
    assert (said.amount, said.currency, said.status, said.owner) == (100, "EUR", "COMPLETED", "acme")
    assert (said.external_id, said.happened_at) == ("p1", AT + timedelta(minutes=2))
    assert told([RETURN])[0].reason == "No Funds"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(300, 300), ("300", 300), ("-5", -5), (300.0, 300), (0, 0), (2**63 - 1, 2**63 - 1)]
    + [(bad, None) for bad in (2**63, 3.5, True, None, "3.5", "", "٣", [], 1e300, "9" * 30)],
)
def test_amounts(value, expected):
    assert read_amount(value) == expected


def test_currencies():
    assert read_currency("eur") == "EUR"
    assert [read_currency(bad) for bad in ("EU", "EURO", "E1R", None, 978, "ÄÖÜ")] == [None] * 6


# -- accounts ------------------------------------------------------------------------------------------------


def account(name, minute, **payload):
    time = (AT + timedelta(minutes=minute)).isoformat()
    payload = {"accountNumber": "1001", "partnerId": 1000} | payload
    return {"eventType": name, "resourceId": "1001", "eventDate": time, "payload": payload}


def fold_accounts(documents):
    state, entries = None, []
    for document in documents:
        change = received(document, reader=read_account_change)
        assert change is not None
        state = apply_account(state, change)
        entries += [change.entry] if change.entry else []
    return state, order_history(entries)


STORY = [
    account("ACCT_SUBMITTED", 0),
    account("ACCT_PROCESSING", 1, creditCardId="cc1"),
    account("ACCT_APPROVED", 2, accountName="Acme"),
    account("ACCT_ENABLED", 3, directDebitId="dd1"),
    account("ACCT_DISABLED", 4, reason="review"),
    account("ACCT_ENABLED", 5),
]


def test_an_account_moves_back_and_forth():
    state, steps = fold_accounts(STORY)
    assert (state.status, state.status_at) == (AccountStatus.ENABLED, AT + timedelta(minutes=5))
    assert (state.old_status, state.onboarding_stage) == ("APPROVED", "COMPLETE")
    assert (state.merchant_id, state.account_name) == ("1000", "Acme")
    assert state.approved_at == AT + timedelta(minutes=2)
    assert state.activated_at == AT + timedelta(minutes=3)
    assert [(m.type, m.external_id) for m in state.methods] == [
        ("CREDIT_CARD", "cc1"),
        ("DIRECT_DEBIT", "dd1"),
    ]
    assert [(s.from_status, s.to_status) for s in steps][-2:] == [
        (AccountStatus.ENABLED, AccountStatus.DISABLED),
        (AccountStatus.DISABLED, AccountStatus.ENABLED),
    ]
    assert steps[0].from_status is None
    assert steps[4].reason == "review"


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_order_of_account_events_ends_the_same(data):
    expected = fold_accounts(STORY)
    again = data.draw(st.permutations(STORY + data.draw(st.lists(st.sampled_from(STORY), max_size=4))))
    assert fold_accounts(again) == expected


def test_account_announcements():
    first = apply_account(None, received(STORY[2], reader=read_account_change))
    second = apply_account(first, received(STORY[3], reader=read_account_change))
    late = apply_account(second, received(STORY[0], reader=read_account_change))
    names = {"account_id": "acc_1", "source_event_id": "evt_1", "owner": None}
    said = announce_account(first, second, **names)
    assert (said.old_status, said.new_status) == ("APPROVED", "ENABLED")
    assert announce_account(second, late, **names) is None
    assert announce_account(None, first, **names).old_status is None


def test_the_documented_account_event():
    change = received(sample_document("account-enabled", at=AT), reader=read_account_change)
    state = apply_account(None, change)
    assert (state.external_id, state.status) == ("1000000001", AccountStatus.ENABLED)
    assert received(COMPLETED, reader=read_account_change) is None
