"""Properties of every scheme: a flipped bit never verifies, keys roll over, bad settings fail early."""

from __future__ import annotations

import base64
import hmac
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wharfd_netbanx.schemes import (
    PRESETS,
    Headers,
    Key,
    KeyRing,
    Reason,
    key_remarks,
    make_key,
    make_verifier,
)
from wharfd_netbanx.schemes.hmac_body import HmacBody
from wharfd_netbanx.schemes.keys import decode_key

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
URL = "https://pay.example.com/square"
BASE64_KEY = base64.b64encode(bytes(range(32))).decode()

ADYEN_ITEM = (
    b'{"live":"true","notificationItems":[{"NotificationRequestItem":{"pspReference":"P1",'
    b'"merchantAccountCode":"M","merchantReference":"R","amount":{"value":100,"currency":"EUR"},'
    b'"eventCode":"AUTHORISATION","success":"true"}}]}'
)
FORM = b"nbx_payment_amount=1000&nbx_currency_code=GBP&nbx_merchant_reference=7&nbx_netbanx_reference=99"
JSON = b'{"id":"evt_1","payload":{"amount":300}}'

# scheme → (a key as typed, options, a body)
CASES = {
    "paysafe": (BASE64_KEY, {}, JSON),
    "github": ("a github secret!", {}, JSON),
    "shopify": ("a shopify secret", {}, JSON),
    "coinbase-commerce": ("coinbase secret!", {}, JSON),
    "square": ("a square secret!", {"public_url": URL}, JSON),
    "stripe": ("whsec_stripe_secret", {}, JSON),
    "standard-webhooks": ("whsec_" + BASE64_KEY, {}, JSON),
    "adyen": ("00112233445566778899aabbccddeeff" * 2, {}, ADYEN_ITEM),
    "adyen-header": ("00112233445566778899aabbccddeeff" * 2, {}, JSON),
    "hmac": (
        "any secret at all",
        {"signature_header": "X-Sig", "digest": "sha512", "digest_encoding": "hex"},
        JSON,
    ),
    "legacy-upp": ("upp secret of old", {"allow_weak_checksum": True}, FORM),
}


def made(scheme):
    typed, options, body = CASES[scheme]
    return make_verifier(scheme, [make_key(scheme, typed)], **options), body


def test_every_scheme_has_a_case():
    assert set(CASES) | {"paypal"} == set(PRESETS)


@pytest.mark.parametrize("scheme", CASES)
def test_what_was_signed_verifies(scheme):
    verifier, body = made(scheme)
    sent, headers = verifier.sign(body, NOW, "evt_1")
    verdict = verifier.verify(Headers(headers), sent, NOW)
    assert (verdict.ok, verdict.reason) == (True, Reason.OK)
    assert verifier.scheme == scheme
    shouted = {name.upper(): f"  {value}\t" for name, value in headers.items()}
    assert verifier.verify(Headers(shouted), sent, NOW).ok


def flipped(data: bytes, position: int, bit: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


# Adyen and the old UPP form sign fields, not bytes: there a flip is tried in the fields that are signed.
SIGNS_BYTES = [scheme for scheme in CASES if scheme not in ("adyen", "legacy-upp")]


@pytest.mark.parametrize("scheme", SIGNS_BYTES)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_of_the_body_never_verifies(scheme, position, bit):
    verifier, body = made(scheme)
    sent, headers = verifier.sign(body, NOW, "evt_1")
    assert not verifier.verify(Headers(headers), flipped(sent, position, bit), NOW).ok


@pytest.mark.parametrize("scheme", CASES)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_of_the_key_never_verifies(scheme, position, bit):
    typed, options, body = CASES[scheme]
    key = make_key(scheme, typed)
    sent, headers = make_verifier(scheme, [key], **options).sign(body, NOW, "evt_1")
    other = Key("other", flipped(key.secret, position, bit))
    verdict = make_verifier(scheme, [other], **options).verify(Headers(headers), sent, NOW)
    assert verdict.reason is Reason.SIGNATURE_MISMATCH


@pytest.mark.parametrize("scheme", SIGNS_BYTES)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_of_the_signature_never_verifies(scheme, position, bit):
    verifier, body = made(scheme)
    sent, headers = verifier.sign(body, NOW, "evt_1")
    name = next(name for name in headers if "sig" in name.lower() or "hmac" in name.lower())
    pairs = [
        (key.encode(), flipped(value.encode(), position, bit) if key == name else value.encode())
        for key, value in headers.items()
    ]
    assert not verifier.verify(Headers(pairs), sent, NOW).ok


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_of_adyens_signed_fields_never_verifies(position, bit):
    verifier, body = made("adyen")
    sent, _ = verifier.sign(body, NOW, "")
    begin, end = sent.index(b'"pspReference"'), sent.index(b'"additionalData"')
    position = begin + position % (end - begin)
    verdict = verifier.verify(Headers({}), flipped(sent, position, bit), NOW)
    # A flip may turn a key into an unknown one or break the JSON; none of it may be accepted.
    assert not verdict.ok


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_of_a_upp_form_never_verifies(position, bit):
    verifier, body = made("legacy-upp")
    sent, _ = verifier.sign(body, NOW, "")
    assert not verifier.verify(Headers({}), flipped(sent, position, bit), NOW).ok


# -- keys over time ----------------------------------------------------------------------------------------


def key(name, secret=None, begin=None, end=None):
    return Key(name, (secret or name).encode(), begin, end)


def test_a_rotation_with_overlap_names_the_key_and_flags_the_old_one():
    old = key("old", end=NOW + timedelta(hours=1))
    new = key("new", begin=NOW - timedelta(hours=1))
    both = HmacBody([old, new], scheme="paysafe", signature_header="Signature")
    for signer, is_old in ((old, True), (new, False)):
        sent, headers = HmacBody([signer], scheme="paysafe", signature_header="Signature").sign(JSON, NOW, "")
        verdict = both.verify(Headers(headers), sent, NOW)
        assert (verdict.ok, verdict.key_id, verdict.old_key) == (True, signer.id, is_old)
    later = NOW + timedelta(hours=2)
    sent, headers = HmacBody([key("old")], scheme="paysafe", signature_header="Signature").sign(JSON, NOW, "")
    assert both.verify(Headers(headers), sent, later).reason is Reason.SIGNATURE_MISMATCH
    before = NOW - timedelta(hours=2)
    sent, headers = HmacBody([key("new")], scheme="paysafe", signature_header="Signature").sign(JSON, NOW, "")
    assert both.verify(Headers(headers), sent, before).reason is Reason.SIGNATURE_MISMATCH


def test_keys_without_a_beginning_count_the_first_as_current():
    ring = KeyRing([key("first"), key("second")])
    assert [k.id for k in ring.active(NOW)] == ["first", "second"]


def test_when_no_key_is_active_the_provider_is_asked_to_come_back():
    verifier = HmacBody([key("gone", end=NOW)], scheme="paysafe", signature_header="Signature")
    sent, headers = HmacBody([key("gone")], scheme="paysafe", signature_header="Signature").sign(
        JSON, NOW, ""
    )
    verdict = verifier.verify(Headers(headers), sent, NOW)
    assert verdict.reason is Reason.NO_ACTIVE_KEY
    assert verdict.reply is not None
    assert verdict.reply.status == 503
    assert verifier.verify(Headers(headers), sent, NOW - timedelta(seconds=1)).ok


def test_a_key_is_never_shown():
    made_key = make_key("paysafe", BASE64_KEY)
    assert BASE64_KEY not in repr(made_key)
    assert repr(made_key.secret) not in repr(made_key)
    assert made_key.id.startswith("key-")
    assert made_key.id == make_key("paysafe", f" {BASE64_KEY}\n").id


# -- configuration fails closed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: make_verifier("paysafe", []), "keys: missing"),
        (lambda: make_verifier("paysfe", []), "did you mean 'paysafe'"),
        (lambda: make_verifier("square", [key("k")]), "public_url: missing"),
        (lambda: make_verifier("paysafe", [key("k")], public_url=URL), "public_url: has no meaning"),
        (
            lambda: make_verifier("paysafe", [key("k")], signature_header="no header"),
            "signature_header: 'no header'",
        ),
        (lambda: make_verifier("hmac", [key("k")]), "signature_header: missing"),
        (lambda: make_verifier("paypal"), "webhook_id: missing"),
        (lambda: make_verifier("paypal", webhook_id="1"), "ca_bundle: missing"),
        (lambda: make_verifier("paypal", webhook_id="1", ca_bundle=b"no"), "ca_bundle: holds no PEM"),
        (lambda: make_verifier("paypal", [key("k")], webhook_id="1", ca_bundle=b""), "keys: have no meaning"),
        (lambda: make_verifier("legacy-upp", [key("k")]), "allow_weak_checksum: missing"),
        (lambda: make_verifier("stripe", [key("k")], tolerance=timedelta(0)), "tolerance: must be"),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", digest="md5"),
            "digest 'md5' is none of",
        ),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", signed="{url}"),
            "public_url: missing",
        ),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", signed="{id}"),
            "signed: {body} is missing",
        ),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", signed="{body}{t}"),
            "{t} is none of",
        ),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", signed="{timestamp}{body}"),
            "timestamp_header: missing",
        ),
        (
            lambda: make_verifier("hmac", [key("k")], signature_header="X", signed="{id}{body}"),
            "id_header: missing",
        ),
        (lambda: KeyRing([key("k", "a"), key("k", "b")]), "two keys are called 'k'"),
        (lambda: key("k", begin=NOW, end=NOW), "end before it begins"),
        (lambda: key("k", begin=datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda: make_key("paysafe", "  "), "the key is empty"),
        (lambda: make_key("paysafe", "not base64!"), "the key is not base64"),
        (lambda: make_key("adyen", "xyz"), "the key is not hexadecimal"),
        (lambda: make_key("standard-webhooks", "whsk_AAAA"), "private half"),
        (lambda: make_key("standard-webhooks", "whpk_AAAA"), "ed25519 public key"),
        (lambda: decode_key("x", "rot13"), "is none of base64, utf8, hex"),
    ],
)
def test_wrong_configuration_is_refused_with_a_way_out(build, says):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is what is tested
        build()
    assert says in str(caught.value)


def test_remarks_name_the_key_traps():
    hex_text = bytes(range(32)).hex()
    inside = base64.b64encode(hex_text.encode()).decode()
    assert "do not decode them again" in key_remarks(inside, "base64")[0]
    assert "may already be decoded" in key_remarks(hex_text, "base64")[0]
    assert "only 4 bytes" in key_remarks("abcd", "utf8")[0]
    assert key_remarks(BASE64_KEY, "base64") == []


# -- what a sender can send ----------------------------------------------------------------------------------

GOOD = base64.b64encode(hmac.digest(bytes(range(32)), JSON, "sha256"))


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], Reason.SIGNATURE_MISSING),
        ([(b"Signature", b"")], Reason.SIGNATURE_MISSING),
        ([(b"X-Signature", GOOD)], Reason.SIGNATURE_MISSING),
        ([(b"Signature", GOOD), (b"signature", GOOD)], Reason.SIGNATURE_REPEATED),
        ([(b"Signature", GOOD * 100)], Reason.HEADER_TOO_LONG),
        ([(b"Signature", GOOD[:-1])], Reason.SIGNATURE_MALFORMED),
        ([(b"Signature", b"\xff" * 44)], Reason.SIGNATURE_MISMATCH),
        ([(b"Signature", b"sha256=" + GOOD)], Reason.SIGNATURE_MALFORMED),
        (
            [(b"Signature", hmac.digest(bytes(range(32)), JSON, "sha256").hex().encode())],
            Reason.SIGNATURE_MALFORMED,
        ),
        ([(b"SIGNATURE", b" " + GOOD + b" ")], Reason.OK),
    ],
)
def test_paysafe_headers(pairs, reason):
    verifier, _ = made("paysafe")
    verdict = verifier.verify(Headers(pairs), JSON, NOW)
    assert verdict.reason is reason
    assert verdict.ok is (reason is Reason.OK)
    if not verdict.ok:
        assert verdict.reply is not None
        assert verdict.reply.status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"id":"\\ud800"}',
        b'{"id":' + b"[" * 3000,
        b"\0",
        b"9" * 5000,
    ],
)
@pytest.mark.parametrize("scheme", SIGNS_BYTES)
def test_a_signed_body_that_makes_no_sense_is_still_accepted(scheme, body):
    verifier, _ = made(scheme)
    sent, headers = verifier.sign(body, NOW, "evt_1")
    assert verifier.verify(Headers(headers), sent, NOW).ok


@given(
    body=st.binary(max_size=300),
    values=st.lists(st.tuples(st.sampled_from(range(12)), st.binary(max_size=100)), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_no_input_raises_and_none_is_accepted(body, values):
    names = [
        b"Signature", b"Stripe-Signature", b"webhook-id", b"webhook-timestamp", b"webhook-signature",
        b"X-Hub-Signature-256", b"X-Sig", b"x-square-hmacsha256-signature", b"HmacSignature",
        b"X-CC-Webhook-Signature", b"X-Shopify-Hmac-SHA256", b"X-GitHub-Delivery",
    ]  # fmt: skip
    headers = Headers([(names[which], value) for which, value in values])
    for scheme in CASES:
        assert not made(scheme)[0].verify(headers, body, NOW).ok


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", Reason.SIGNATURE_MISSING),
        ("t=1,v0=abc", Reason.SIGNATURE_MALFORMED),
        ("v1=" + "a" * 64, Reason.SIGNATURE_MALFORMED),
        ("t=1,t=2,v1=" + "a" * 64, Reason.SIGNATURE_MALFORMED),
        ("t=1" + (",v1=" + "a" * 64) * 17, Reason.SIGNATURE_MALFORMED),
        ("t=-1,v1=" + "a" * 64, Reason.TIMESTAMP_MALFORMED),
        ("t=1e9,v1=" + "a" * 64, Reason.TIMESTAMP_MALFORMED),
        ("t=9999999999999,v1=" + "a" * 64, Reason.TIMESTAMP_MALFORMED),
        ("t=999999999999,v1=" + "a" * 64, Reason.TIMESTAMP_MALFORMED),
        (f"t={int(NOW.timestamp()) - 301},v1=" + "a" * 64, Reason.TIMESTAMP_TOO_OLD),
        (f"t={int(NOW.timestamp()) + 301},v1=" + "a" * 64, Reason.TIMESTAMP_IN_FUTURE),
        (f"t={int(NOW.timestamp())},v1=" + "a" * 64, Reason.SIGNATURE_MISMATCH),
    ],
)
def test_stripe_headers(header, reason):
    verifier, body = made("stripe")
    assert verifier.verify(Headers({"Stripe-Signature": header}), body, NOW).reason is reason


def test_a_described_provider_with_timestamp_and_id():
    verifier = make_verifier(
        "hmac", [key("k")], signature_header="X-Sig", prefix="v0=", digest_encoding="hex",
        signed="v0:{timestamp}:{id}:{body}", timestamp_header="X-Time", id_header="X-Id",
    )  # fmt: skip
    sent, headers = verifier.sign(JSON, NOW, "evt_9")
    verdict = verifier.verify(Headers(headers), sent, NOW)
    assert (verdict.ok, verdict.provider_event_id, verdict.signed_at) == (True, "evt_9", NOW)
    for name, value, reason in (
        ("X-Time", str(int(NOW.timestamp()) + 1), Reason.SIGNATURE_MISMATCH),
        ("X-Time", "1", Reason.TIMESTAMP_TOO_OLD),
        ("X-Id", "evt_8", Reason.SIGNATURE_MISMATCH),
        ("X-Id", "", Reason.HEADER_MISSING),
    ):
        assert verifier.verify(Headers(headers | {name: value}), sent, NOW).reason is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b"[]", Reason.UNREADABLE),
        (b"{}", Reason.UNREADABLE),
        (b'{"notificationItems":[]}', Reason.SIGNATURE_MALFORMED),
        (b'{"notificationItems":[1]}', Reason.UNREADABLE),
        (b'{"notificationItems":[{"NotificationRequestItem":{}}]}', Reason.SIGNATURE_MISSING),
        (
            b'{"notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":7}}}]}',
            Reason.SIGNATURE_MALFORMED,
        ),
        (
            b'{"notificationItems":[' + b",".join([b'{"NotificationRequestItem":{}}'] * 101) + b"]}",
            Reason.SIGNATURE_MALFORMED,
        ),
    ],
)
def test_adyen_bodies(body, reason):
    verifier, _ = made("adyen")
    assert verifier.verify(Headers({}), body, NOW).reason is reason


def test_a_paysafe_check_stays_far_below_its_budget():
    verifier, _ = made("paysafe")
    body = JSON + b" " * 1200
    _, headers = verifier.sign(body, NOW, "")
    pairs = [(b"X-Header-%d" % n, b"value") for n in range(12)]
    received = pairs + [(name.encode(), value.encode()) for name, value in headers.items()]
    best = min(_seconds(verifier, received, body) for _ in range(20))
    # The floor promised to operators is 2 ms; measured here about 8 µs, so this holds on a busy machine too.
    assert best < 500e-6


def _seconds(verifier, received, body):
    begin = time.perf_counter()
    assert verifier.verify(Headers(received), body, NOW).ok
    return time.perf_counter() - begin
