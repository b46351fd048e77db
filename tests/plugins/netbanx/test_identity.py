"""One event has one identity however often and in whatever wrapping it comes; two events have two."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_netbanx.model.envelope import parse
from wharfd_netbanx.model.identity import digest, identify, identify_item
from wharfd_netbanx.samples import SAMPLE_NAMES, sample_document

AT = datetime(2026, 8, 1, 12, tzinfo=UTC)


def identity(document, endpoint="netbanx", **options):
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return identify(endpoint, body, parse(body), **options)


def shuffled(value, seed):
    if not isinstance(value, dict):
        return value
    keys = list(value)
    random.Random(seed).shuffle(keys)
    return {key: shuffled(value[key], seed) for key in keys}


@pytest.mark.parametrize("sample", SAMPLE_NAMES)
def test_every_try_is_the_same_event(sample):
    first = identity(sample_document(sample, at=AT, attempt=1))
    for attempt in (2, 3):
        again = sample_document(sample, at=AT, attempt=attempt)
        assert identity(shuffled(again, attempt)) == first
        assert identity(msgspec.json.format(msgspec.json.encode(again), indent=2)) == first
    assert first.by == ("content" if sample == "connectivity-test" else "event")
    assert len(first.key) == 32


def test_every_sample_is_another_event():
    keys = {
        identity(sample_document(sample, number=number, at=AT)).key
        for sample in SAMPLE_NAMES
        for number in range(5)
        if sample != "connectivity-test"
    }
    assert len(keys) == (len(SAMPLE_NAMES) - 1) * 5


def test_the_events_of_one_payment_stay_apart():
    base = sample_document("payment-completed", at=AT)

    def changed(**payload):
        return base | {"payload": base["payload"] | payload}

    variants = [
        base,
        base | {"eventName": "PAYMENT_PROCESSING", "eventType": "PAYMENT_PROCESSING"},
        changed(status="PENDING"),
        changed(statusTime="2026-08-09T00:00:00Z"),
        changed(id="another"),
    ]
    assert len({identity(variant).key for variant in variants}) == len(variants)
    # The same merchantRefNum or a top-level id makes nothing the same, and nothing different.
    assert identity(base | {"id": base["payload"]["id"]}).key == identity(base).key
    assert identity(changed(merchantRefNum="x")).key == identity(base).key


def test_settlements_of_one_resource_and_time_stay_apart():
    completed = sample_document("debit-cleared", at=AT) | {"eventName": "SETTLEMENT_COMPLETED"}
    assert identity(completed).key != identity(sample_document("debit-cleared", at=AT)).key


def test_endpoints_do_not_share_events():
    document = sample_document("payment-completed", at=AT)
    assert identity(document, "netbanx").key != identity(document, "netbanx-eu").key


def test_one_event_with_two_contents_is_noticed():
    base = sample_document("payment-completed", at=AT)
    other = base | {"payload": base["payload"] | {"amount": 999_999}}
    assert identity(base).key == identity(other).key
    assert identity(base).content != identity(other).content


def test_both_spellings_of_a_return_are_one_event():
    document = sample_document("debit-returned", at=AT)
    assert identity(document | {"eventName": "PAYMENT_RETURNED_COMPLETED"}).key == identity(document).key


def test_wrapping_makes_no_difference_to_the_key():
    document = sample_document("debit-returned", at=AT)
    flat = document["variables"] | {"eventName": document["eventName"]}
    assert identity(flat).key == identity(document).key


def test_times_fall_back_from_status_to_transaction_to_event():
    base = sample_document("payment-completed", at=AT) | {"eventDate": "2026-08-02T00:00:00Z"}
    payload = dict(base["payload"])
    keys = [identity(base).key]
    for missing in ("statusTime", "txnTime"):
        del payload[missing]
        keys.append(identity(base | {"payload": dict(payload)}).key)
    assert len(set(keys)) == 3
    rest = {key: value for key, value in base.items() if key != "eventDate"}
    assert identity(rest | {"payload": payload}).by == "content"


def test_what_nothing_identifies_is_told_by_its_content():
    first = identity(b'{"eventName":"NEW","attemptNumber":"1","detail":{"b":2,"a":1}}')
    again = identity(b'{"attemptNumber":"3","detail":{"a":1,"b":2},"eventName":"NEW"}')
    other = identity(b'{"eventName":"NEW","attemptNumber":"1","detail":{"a":1,"b":3}}')
    assert first == again
    assert first.key != other.key
    assert first.by == "content"


@pytest.mark.parametrize("body", [b"", b"garbage", b"[1]", b'{"a":' * 1000])
def test_what_cannot_be_read_is_told_by_its_bytes(body):
    assert identity(body).by == "raw"
    assert identity(body) == identity(body)
    assert identity(body).key != identity(body + b" ").key


def test_a_providers_own_id_counts_where_the_rule_says_so():
    first = identity(b'{"id":"evt_1"}', rule="provider_id", provider_event_id="evt_1")
    other = identity(b'{"id":"evt_1","try":2}', rule="provider_id", provider_event_id="evt_1")
    assert (first.by, first.key) == ("provider_id", other.key)
    assert first.content != other.content
    assert identity(b'{"id":"evt_1"}', rule="provider_id").by == "content"
    assert identity(b"not json", rule="provider_id", provider_event_id="e").by == "provider_id"
    assert identity(sample_document("payment-completed", at=AT), rule="content").by == "content"
    item = identify_item("adyen", {"pspReference": "1"}, "AUTHORISATION:1:true")
    assert item.key != identify_item("adyen", {"pspReference": "1"}, None).key


FIELD = st.none() | st.binary(max_size=12)


@given(st.lists(FIELD, max_size=5), st.lists(FIELD, max_size=5))
def test_different_fields_never_share_a_digest(one, other):
    assert (digest(*one) == digest(*other)) is (one == other)


def test_boundaries_between_fields_count():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(None, "a") != digest("", "a")
    assert digest("-") != digest(None)


def test_identities_never_change_by_accident():
    # A change here makes every stored event look new: raise the version in identity.py if it is meant.
    document = sample_document("payment-completed", at=AT)
    assert identity(document).key.hex() == "63a637805d8beec2716eaf86f97bd5f6d1007af0f87750041a363b71041b70a1"
    assert (
        identity(b'{"b":1,"a":[true,null,"x"]}').key.hex()
        == "f0541b34e8a215b6d68e0acf90cd6d0c085dcf4613f643c324e683b36d0115bf"
    )
    assert identity(b"").key.hex() == "69d7b11397eb68f8d5b43748c1f2640636cdd16b44616391805f73953a356f90"
