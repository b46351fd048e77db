"""Every documented shape is read into one form; everything else is kept as what it is."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wharfd_netbanx.model.envelope import (
    MAX_DEPTH,
    Envelope,
    Unreadable,
    find_doubled_keys,
    parse,
    read_time,
    short_text,
    storable,
)
from wharfd_netbanx.model.vocabulary import AccountStatus, Kind, Status
from wharfd_netbanx.samples import SAMPLE_NAMES, sample_document

AT = datetime(2026, 8, 1, 12, tzinfo=UTC)


def read(document) -> Envelope:
    envelope = parse(msgspec.json.encode(document))
    assert isinstance(envelope, Envelope)
    return envelope


@pytest.mark.parametrize(
    ("sample", "shape", "name", "kind", "status"),
    [
        ("handle-payable", "payments", "PAYMENT_HANDLE_PAYABLE", Kind.HANDLE, None),
        ("payment-processing", "payments", "PAYMENT_PROCESSING", Kind.PAYMENT, Status.PROCESSING),
        ("payment-completed", "payments", "PAYMENT_COMPLETED", Kind.PAYMENT, Status.COMPLETED),
        ("payment-failed", "payments", "PAYMENT_FAILED", Kind.PAYMENT, Status.FAILED),
        ("refund-completed", "payments", "REFUND_COMPLETED", Kind.REFUND, Status.COMPLETED),
        ("payout-completed", "payments", "SA_CREDIT_COMPLETED", Kind.PAYOUT, Status.COMPLETED),
        ("debit-completed", "direct_debit", "PAYMENT_COMPLETED", Kind.PAYMENT, Status.COMPLETED),
        ("debit-cleared", "direct_debit", "SETTLEMENT_CLEARED", Kind.SETTLEMENT, Status.CLEARED),
        ("debit-returned", "variables", "PAYMENT_RETURN_COMPLETED", Kind.RETURN, Status.RETURNED),
        ("alternate-completed", "alternate", "AP_PAYMENT_COMPLETED", Kind.PAYMENT, Status.COMPLETED),
        ("account-enabled", "account", "ACCT_ENABLED", Kind.ACCOUNT, None),
        ("wallet-iban", "wallet", "IBAN_ASSIGNED", Kind.WALLET, None),
        ("connectivity-test", "test", "TEST", Kind.TEST, None),
    ],
)
def test_documented_shapes(sample, shape, name, kind, status):
    envelope = read(sample_document(sample, at=AT))
    assert (envelope.shape, envelope.name) == (shape, name)
    assert (envelope.meaning.kind, envelope.meaning.status) == (kind, status)
    assert envelope.time_text is not None
    assert envelope.is_connectivity_test is (sample == "connectivity-test")
    assert (envelope.resource_id is None) is (sample == "connectivity-test")
    assert not envelope.notes


def test_every_sample_is_covered_above():
    covered = test_documented_shapes.pytestmark[0].args[1]
    assert {row[0] for row in covered} == set(SAMPLE_NAMES)


def test_fields_of_the_payments_shape():
    document = sample_document("payment-completed", at=AT)
    envelope = read(document)
    assert envelope.resource_id == document["payload"]["id"]
    assert envelope.status_time == datetime(2026, 8, 1, 12, 2, tzinfo=UTC)
    assert envelope.txn_time == AT
    assert (envelope.attempt, envelope.mode) == (1, "live")
    assert envelope.links[0].rel == "payment"
    assert envelope.meaning.known
    assert envelope.meaning.priority < 100


def test_attempts_come_as_text_and_as_number():
    for sample, sent in (("payment-completed", "2"), ("alternate-completed", 2), ("account-enabled", 0)):
        document = sample_document(sample, at=AT, attempt=int(sent))
        assert document["attemptNumber"] == sent
        assert read(document).attempt == int(sent)


def test_other_spellings():
    epoch = read(sample_document("debit-cleared", at=AT))
    assert epoch.txn_time == datetime(2026, 7, 24, 12, tzinfo=UTC)
    links = read({"eventName": "X", "_links": {"self": {"href": "https://a"}}, "payload": {}}).links
    assert [(link.rel, link.href) for link in links] == [("self", "https://a")]
    assert read({"EventName": "PAYMENT_COMPLETED", "payload": {"id": 5}}).resource_id == "5"
    returned = read({"eventName": "payment_returned_completed", "payload": {"id": "r"}})
    assert returned.name == "PAYMENT_RETURN_COMPLETED"
    account = read(sample_document("account-enabled", at=AT))
    assert account.meaning.account_status is AccountStatus.ENABLED
    assert account.resource_id == "1000000001"
    both = read({"eventName": "A", "eventType": "B", "payload": {"id": "1"}})
    assert "differs" in both.notes[0]


def test_a_body_that_names_no_event_is_read_by_its_category():
    envelope = read({"type": "PAYMENT", "payload": {"id": "p", "status": "COMPLETED"}})
    assert (envelope.name, envelope.meaning.kind) == ("", Kind.PAYMENT)
    assert envelope.meaning.status is Status.COMPLETED
    assert not envelope.meaning.known


@pytest.mark.parametrize("value", [None, 42, [], {}, True, 1.5, "x" * 100_000, "\0", 10**400])
@pytest.mark.parametrize(
    "key",
    [
        "eventName",
        "type",
        "payload",
        "variables",
        "resourceId",
        "eventDate",
        "attemptNumber",
        "links",
        "mode",
    ],
)
def test_wrongly_typed_fields_count_as_absent(key, value):
    body = sample_document("payment-completed", at=AT) | {key: value}
    assert isinstance(parse(msgspec.json.encode(body)), Envelope)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":1e400}', "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b'{"a":"\x00"}', "not JSON"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "a list"),
        (b"null", "null"),
        (b'"text"', "a text"),
        (b"17", "a number"),
        (b"false", "true or false"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "nested deeper"),
        (b'{"a":' + b"[" * 100_000, "nested deeper"),
        (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested deeper"),
    ],
)
def test_bodies_that_cannot_be_read(body, says):
    found = parse(body)
    assert isinstance(found, Unreadable)
    assert says in found.reason
    assert len(found.reason) <= 255


def test_depth_is_counted_and_not_the_number_of_brackets():
    edge = MAX_DEPTH - 1
    assert isinstance(parse(b'{"a":' + b"[" * edge + b"]" * edge + b"}"), Envelope)
    assert isinstance(parse(b'{"a":[' + b",".join([b"{}"] * 5000) + b"]}"), Envelope)


def test_doubled_keys_are_named_and_the_last_one_counts():
    body = b'{"eventName":"PAYMENT_FAILED","payload":{"id":"1","id":"2"},"eventName":"PAYMENT_COMPLETED"}'
    envelope = parse(body)
    assert isinstance(envelope, Envelope)
    assert (envelope.name, envelope.resource_id) == ("PAYMENT_COMPLETED", "2")
    assert find_doubled_keys(body) == ["id", "eventName"]
    assert find_doubled_keys(b'{"a":1}') == find_doubled_keys(b"{") == []


def test_what_postgresql_cannot_hold_is_replaced():
    assert storable({"a\0": ["\0", 1, None]}) == {"a\ufffd": ["\ufffd", 1, None]}
    assert short_text("a\0" + "b" * 300) == "a\ufffd" + "b" * 253
    assert short_text(17) == "17"
    assert short_text(True) is short_text("") is short_text([]) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-03-24T15:31:49Z", datetime(2025, 3, 24, 15, 31, 49, tzinfo=UTC)),
        ("2025-03-24T16:31:49+01:00", datetime(2025, 3, 24, 15, 31, 49, tzinfo=UTC)),
        ("2025-03-24T15:31:49", datetime(2025, 3, 24, 15, 31, 49, tzinfo=UTC)),
        (1674814529123, datetime(2023, 1, 27, 10, 15, 29, 123000, tzinfo=UTC)),
        ("1674814529000", datetime(2023, 1, 27, 10, 15, 29, tzinfo=UTC)),
        (1674814529, None),
        (10**18, None),
        (True, None),
        (1.5e12, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("٢٠٢٥١٢٣٤٥٦٧٨", None),
        (None, None),
    ],
)
def test_times(value, expected):
    assert read_time(value) == expected


KEYS = st.sampled_from(
    [
        "eventName",
        "eventType",
        "type",
        "payload",
        "variables",
        "id",
        "resourceId",
        "status",
        "statusTime",
        "txnTime",
        "eventDate",
        "attemptNumber",
        "links",
        "_links",
        "mode",
        "amount",
        "customerId",
        "accountId",
        "acctStatus",
        "x",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_object_is_read(document):
    assert isinstance(parse(msgspec.json.encode(document)), Envelope | Unreadable)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read(body):
    assert isinstance(parse(body), Envelope | Unreadable)
