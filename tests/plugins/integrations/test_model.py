"""Scopes, networks, signatures and hidden configuration: the pure part, table by table."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from wharfd.contracts.access import Identity
from wharfd_integrations.model.confidential import HIDDEN, join, split
from wharfd_integrations.model.record import KeyRecord, identity_of, standing
from wharfd_integrations.model.scopes import admits, beyond, outside, parse_networks, parse_scopes
from wharfd_integrations.model.signing import is_signed_by, read_head, signature_of, signed_headers

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "good", [["orders:read"], ["orders:*", "keys:write"], ["*"], ["a_b:c_d"], ["x:read", "x:read"], []]
)
def test_good_scopes(good):
    assert parse_scopes(good) == tuple(sorted(set(good)))


@pytest.mark.parametrize(
    "bad",
    [
        "orders",
        "orders:",
        ":read",
        "Orders:read",
        "orders:read ",
        "**",
        "*:read",
        "o:r:x",
        "",
        "a" * 80 + ":b",
    ],
)
def test_bad_scopes_are_named(bad):
    with pytest.raises(ValueError, match="is not a scope"):
        parse_scopes(["orders:read", bad])


def test_too_many_scopes():
    with pytest.raises(ValueError, match="more than"):
        parse_scopes([f"a:{'b' * n}" for n in range(1, 66)])


@pytest.mark.parametrize(
    ("held", "asked", "missing"),
    [
        ({"orders:read"}, ["orders:read"], []),
        ({"orders:read"}, ["orders:write"], ["orders:write"]),
        ({"orders:read", "orders:write"}, ["orders:*"], ["orders:*"]),
        ({"orders:*"}, ["orders:read", "orders:*", "*"], ["*"]),
        ({"*"}, ["orders:read", "orders:*", "*"], []),
    ],
)
def test_what_a_maker_cannot_give(held, asked, missing):
    assert beyond(Identity("key_1", "key", "ann", frozenset(held)), asked) == missing


def test_an_admin_gives_everything_and_an_operator_only_reading():
    assert beyond(Identity("admin", "admin"), ["*", "keys:*"]) == []
    assert beyond(Identity("operator", "operator"), ["keys:read", "keys:write", "*"]) == ["keys:write", "*"]


@pytest.mark.parametrize(
    ("allowed", "client", "good"),
    [
        ([], None, True),
        ([], "203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.113.9", True),
        (["203.0.113.9"], "203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.114.9", False),
        (["203.0.113.0/24"], None, False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "203.0.113.9", False),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::ffff:203.0.113.0/120"], "203.0.113.9", True),
    ],
)
def test_the_allow_list(allowed, client, good):
    assert admits(parse_networks(allowed), None if client is None else ip_address(client)) is good


@pytest.mark.parametrize("bad", ["203.0.113.9/24", "host.example", "", "1.2.3", "203.0.113.0/33"])
def test_bad_networks_are_named(bad):
    with pytest.raises(ValueError, match="is no network"):
        parse_networks([bad])


def test_networks_outside_others():
    outer = parse_networks(["10.0.0.0/8", "2001:db8::/32"])
    inner = parse_networks(["10.1.0.0/16", "2001:db8:1::/48", "192.0.2.0/24"])
    assert outside(inner, outer) == [ip_network("192.0.2.0/24")]
    assert outside(inner, ()) == []


# -- signatures ---------------------------------------------------------------------------------------


SIGNED = {
    "key": "whk_live_0123456789", "timestamp": 1_767_225_600, "nonce": "n" * 16, "method": "POST",
    "target": "/api/v1/orders?x=1", "body": b'{"a":1}',
}  # fmt: skip


def test_the_signature_is_the_documented_one():
    # printf 'v1\nwhk_live_0123456789\n1767225600\nnnnnnnnnnnnnnnnn\nPOST\n/api/v1/orders?x=1\n<sha256>' |
    #   openssl dgst -sha256 -hmac whs_secret
    assert (
        signature_of("whs_secret", **SIGNED)
        == "de29fa5fb495dd36a04ec129af82c1cb27011ff1d6dfb649bcd4fb77d62d1011"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "whk_live_012345678a"),
        ("timestamp", 1_767_225_601),
        ("nonce", "m" * 16),
        ("method", "PUT"),
        ("target", "/api/v1/orders?x=2"),
        ("body", b'{"a":2}'),
    ],
)
def test_every_part_is_signed(name, value):
    head = read_head(signed_headers("whs_secret", **SIGNED))
    whole = {part: SIGNED[part] for part in ("method", "target", "body")}
    assert is_signed_by(head, "whs_secret", **whole)
    changed = SIGNED | {name: value}
    other = read_head(signed_headers("whs_secret", **changed))
    moved = type(head)(other.key, other.timestamp, other.nonce, head.signature)
    assert not is_signed_by(moved, "whs_secret", **{part: changed[part] for part in whole})
    assert not is_signed_by(head, "whs_other", **whole)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("x-wharfd-key", "", "x-wharfd-key"),
        ("x-wharfd-timestamp", "soon", "whole seconds"),
        ("x-wharfd-timestamp", "-1767225600", "whole seconds"),
        ("x-wharfd-timestamp", "9" * 400, "whole seconds"),
        ("x-wharfd-nonce", "short", "16 to 64"),
        ("x-wharfd-nonce", "n" * 65, "16 to 64"),
        ("x-wharfd-nonce", "n" * 16 + "\n", "16 to 64"),
        ("x-wharfd-signature", "v2=" + "0" * 64, "v1="),
        ("x-wharfd-signature", "v1=" + "A" * 64, "v1="),
    ],
)
def test_a_malformed_head_is_told_by_its_field(name, value, word):
    assert word in read_head(signed_headers("whs_secret", **SIGNED) | {name: value})


# -- configuration ------------------------------------------------------------------------------------


def test_what_is_secret_in_a_configuration_is_taken_out():
    config = {
        "baseUrl": "https://api.example",
        "apiKey": "k-123",
        "db": "postgres://joe:pw@db.example/x",
        "nested": {"password": "p", "user": "joe", "list": [{"token": "t"}, "whk_live_x"]},
        "headers": {"Authorization": "Bearer abc", "a/b~c": {"secret": {"deep": 1}}},
        "retries": 3,
        "enabled": True,
        "secretRef": None,
    }
    shown, secrets = split(config, {})
    assert shown["baseUrl"] == "https://api.example"
    assert shown["nested"]["user"] == "joe"
    assert (shown["apiKey"], shown["db"], shown["nested"]["password"]) == (HIDDEN, HIDDEN, HIDDEN)
    assert shown["nested"]["list"] == [{"token": HIDDEN}, HIDDEN]
    text = repr(shown)
    assert not any(secret in text for secret in ("k-123", "joe:pw", "Bearer", "whk_live_x", "deep"))
    assert join(shown, secrets) == config


def test_a_hidden_value_that_comes_back_keeps_its_secret():
    shown, secrets = split({"apiKey": "old", "password": "p"}, {})
    again, kept = split(shown | {"password": "new"}, secrets)
    assert (again, kept) == (shown, {"apiKey": "old", "password": "new"})
    with pytest.raises(ValueError, match="no secret is kept there"):
        split({"other": HIDDEN}, secrets)


def test_a_configuration_nested_too_deeply():
    deep: object = 1
    for _ in range(10):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested deeper"):
        split({"a": deep}, {})


NAMES = st.sampled_from(["a", "password", "x/y", "~", "list", "apiKey", "0"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_a_configuration_comes_back_whole(config):
    try:
        shown, secrets = split(config, {})
    except ValueError:
        reject()  # nested too deeply
    assert join(shown, secrets) == config


# -- standing -----------------------------------------------------------------------------------------


def record(**changes):
    values = {
        "id": "key_1", "short": "s", "hash": b"h", "owner": "ann", "integration_id": None,
        "integration_status": None, "scopes": frozenset({"a:b"}), "allow_list": (), "rate_per_minute": 9,
        "signed_only": False, "secret": None, "expires_at": None, "valid_until": None, "revoked_at": None,
    }  # fmt: skip
    return KeyRecord(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "outcome", "status"),
    [
        ({}, None, None),
        ({"expires_at": NOW + timedelta(seconds=1)}, None, None),
        ({"expires_at": NOW}, "expired", 401),
        ({"valid_until": NOW}, "expired", 401),
        ({"valid_until": NOW + timedelta(seconds=1)}, None, None),
        ({"revoked_at": NOW + timedelta(days=1)}, "revoked", 401),
        ({"integration_id": "int_1", "integration_status": "active"}, None, None),
        ({"integration_id": "int_1", "integration_status": "pending"}, "inactive", 403),
        ({"integration_id": "int_1", "integration_status": "suspended"}, "inactive", 403),
        ({"integration_id": "int_1", "integration_status": None}, "inactive", 403),
        ({"allow_list": (ip_network("192.0.2.0/24"),)}, None, None),
        ({"allow_list": (ip_network("198.51.100.0/24"),)}, "address", 403),
    ],
)
def test_whether_a_key_is_good_now(changes, outcome, status):
    found = standing(record(**changes), NOW, ip_address("192.0.2.7"))
    assert (found.outcome, found.status) == (outcome, status) if found else outcome is None


def test_the_identity_of_a_key_is_its_owner_and_nothing_more():
    identity = identity_of(record(), "GET", None)
    assert (identity.subject, identity.kind, identity.owner) == ("key_1", "key", "ann")
    assert identity.may("a:b")
    assert not identity.may("a:c")
    assert "secret" not in repr(record(secret=b"x"))
