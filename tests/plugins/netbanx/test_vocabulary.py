"""Names, statuses, urgency and caches."""

from __future__ import annotations

import pytest

from wharfd_netbanx.model.vocabulary import (
    KNOWN_NAMES,
    OLD_ACCOUNT_STATUS,
    OLD_STATUS,
    AccountStatus,
    Kind,
    Status,
    interpret,
    normalise_name,
)


@pytest.mark.parametrize(
    ("name", "kind", "status", "known"),
    [
        ("PAYMENT_ERRORED", Kind.PAYMENT, Status.FAILED, True),
        ("PAYMENT_EXPIRED", Kind.PAYMENT, Status.EXPIRED, True),
        ("PAYMENT_HANDLE_DELETED", Kind.HANDLE, None, True),
        ("PAYMENT_RETURN_COMPLETED", Kind.RETURN, Status.RETURNED, True),
        ("PAYMENT_RETURN_FAILED", Kind.RETURN, None, False),
        ("SETTLEMENT_CLEARED", Kind.SETTLEMENT, Status.CLEARED, True),
        ("REFUND_PENDING", Kind.REFUND, Status.PENDING, True),
        ("SA_CREDIT_HELD", Kind.PAYOUT, Status.HELD, True),
        ("DD_PAYMENT_COMPLETED", Kind.PAYMENT, Status.COMPLETED, False),
        ("DD_MANDATE_ACTIVE", Kind.MANDATE, None, False),
        ("PAYMENT_CHARGEBACK_OPENED", Kind.DISPUTE, None, False),
        ("DISPUTE_WON", Kind.DISPUTE, None, False),
        ("VERIFICATION_COMPLETED", Kind.VERIFICATION, None, False),
        ("TEST", Kind.TEST, None, True),
        ("", Kind.UNKNOWN, None, False),
        ("SOMETHING_NEW", Kind.UNKNOWN, None, False),
    ],
)
def test_names(name, kind, status, known):
    meaning = interpret(name)
    assert (meaning.kind, meaning.status, meaning.known) == (kind, status, known)


def test_every_known_name_is_understood():
    for name in KNOWN_NAMES:
        meaning = interpret(name)
        assert meaning.known
        assert meaning.kind is not Kind.UNKNOWN
        assert normalise_name(name) == name
        if meaning.kind is Kind.ACCOUNT:
            assert meaning.account_status is not None
        elif meaning.kind is not Kind.HANDLE:
            assert meaning.status is not None


def test_spellings():
    assert normalise_name(" payment.completed ") == "PAYMENT_COMPLETED"
    assert normalise_name("PAYMENT_RETURNED_COMPLETED") == "PAYMENT_RETURN_COMPLETED"


def test_payments_go_first():
    order = ["PAYMENT_COMPLETED", "REFUND_COMPLETED", "SETTLEMENT_CLEARED", "ACCT_ENABLED", "NEW", "TEST"]
    priorities = [interpret(name).priority for name in order]
    assert priorities == sorted(priorities)
    assert len(set(priorities)) == len(order)


def test_caches_that_become_stale():
    assert interpret("PAYMENT_COMPLETED").tags == ("transactions", "analytics")
    assert interpret("ACCT_ENABLED").tags == ("accounts",)
    assert set(interpret("PAYMENT_FAILED").tags) == {"transactions", "accounts", "analytics"}
    assert interpret("NEW").tags == ("analytics",)


def test_the_old_systems_words_cover_every_status():
    assert set(OLD_STATUS) == set(Status)
    assert set(OLD_ACCOUNT_STATUS) == set(AccountStatus)
