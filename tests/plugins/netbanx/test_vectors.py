"""Published vectors: signatures that somebody else computed, each with its source."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wharfd_netbanx.schemes import Headers, Reason, make_key, make_verifier
from wharfd_netbanx.schemes.paypal import signed_text

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


def check(scheme, key, headers, body, now=NOW, **options):
    verifier = make_verifier(scheme, [make_key(scheme, key)], **options)
    return verifier.verify(Headers(headers), body, now)


# docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation"
GITHUB = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_github_documentation():
    headers = {"X-Hub-Signature-256": GITHUB, "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    verdict = check("github", "It's a Secret to Everybody", headers, b"Hello, World!")
    assert verdict.ok
    assert verdict.provider_event_id == "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    assert not check("github", "It's a Secret to Everybody", headers, b"Hello, World?").ok


# square/square-python-sdk, tests/integration/test_webhooks_helper.py (MIT)
SQUARE_BODY = (
    b'{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification",'
    b'"event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z",'
    b'"data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}'
)
SQUARE_URL = "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9"
SQUARE_KEY = "Ibxx_5AKakO-3qeNVR61Dw"
SQUARE_SIGNATURE = "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="


@pytest.mark.parametrize(
    ("key", "url", "signature", "body", "reason"),
    [
        (SQUARE_KEY, SQUARE_URL, SQUARE_SIGNATURE, SQUARE_BODY, Reason.OK),
        (
            "signature-key",
            "https://webhook.site/webhooks",
            "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U=",
            b'{"data":{"type":"webhooks","id":">id<"}}',
            Reason.OK,
        ),
        (
            SQUARE_KEY,
            "https://webhook.site/79a4f3a-dcfa-49ee-bac5-9d0edad886b9",
            SQUARE_SIGNATURE,
            SQUARE_BODY,
            Reason.SIGNATURE_MISMATCH,
        ),
        ("MCmhFRxGX82xMwg5FsaoQA", SQUARE_URL, SQUARE_SIGNATURE, SQUARE_BODY, Reason.SIGNATURE_MISMATCH),
        (SQUARE_KEY, SQUARE_URL, "1z2n3DEJJiUPKcPzQo1ftvbxGdw=", SQUARE_BODY, Reason.SIGNATURE_MALFORMED),
        (
            SQUARE_KEY,
            SQUARE_URL,
            SQUARE_SIGNATURE,
            SQUARE_BODY.replace(b"2022-07", b"2022-06"),
            Reason.SIGNATURE_MISMATCH,
        ),
        (
            SQUARE_KEY,
            SQUARE_URL,
            SQUARE_SIGNATURE,
            msgspec.json.format(SQUARE_BODY, indent=2),
            Reason.SIGNATURE_MISMATCH,
        ),
    ],
    ids=["pass", "escaped", "other url", "other key", "other header", "other body", "formatted body"],
)
def test_square_sdk(key, url, signature, body, reason):
    verdict = check("square", key, {"x-square-hmacsha256-signature": signature}, body, public_url=url)
    assert verdict.reason is reason


def test_square_event_id():
    headers = {"x-square-hmacsha256-signature": SQUARE_SIGNATURE}
    verdict = check("square", SQUARE_KEY, headers, SQUARE_BODY, public_url=SQUARE_URL)
    assert verdict.provider_event_id == "ac3ac95b-f97d-458c-a6e6-18981597e05f"


# coinbase/coinbase-commerce-python, tests/test_webhook.py
COINBASE_BODY = (
    b'{"id":1,"scheduled_for":"2017-01-31T20:50:02Z","attempt_number":1,'
    b'"event":{"id":"24934862-d980-46cb-9402-43c81b0cdba6","type":"charge:created",'
    b'"api_version":"2018-03-22","created_at":"2017-01-31T20:49:02Z",'
    b'"data":{"code":"66BEOV2A","name":"The Sovereign Individual",'
    b'"description":"Mastering the Transition to the Information Age",'
    b'"hosted_url":"https://commerce.coinbase.com/charges/66BEOV2A",'
    b'"created_at":"2017-01-31T20:49:02Z","expires_at":"2017-01-31T21:04:02Z",'
    b'"timeline":[{"time":"2017-01-31T20:49:02Z","status":"NEW"}],'
    b'"metadata":{},"pricing_type":"no_price","payments":[],'
    b'"addresses":{"bitcoin":"0000000000000000000000000000000000",'
    b'"ethereum":"0x0000000000000000000000000000000000000000",'
    b'"litecoin":"3000000000000000000000000000000000",'
    b'"bitcoincash":"bitcoincash:000000000000000000000000000000000000000000"}}}}'
)
COINBASE_SIGNATURE = "8be7742c7d372f08a6a3224edadf18a22b65fa9e28f3f2de97376cdaa092590d"


def test_coinbase_commerce_sdk():
    key = "30291a20-0bd1-4267-9b0f-e6e7b123c0bf"
    verdict = check("coinbase-commerce", key, {"X-CC-Webhook-Signature": COINBASE_SIGNATURE}, COINBASE_BODY)
    assert verdict.ok
    assert verdict.provider_event_id == "24934862-d980-46cb-9402-43c81b0cdba6"
    other = {"X-CC-Webhook-Signature": COINBASE_SIGNATURE.replace("3", "1")}
    assert check("coinbase-commerce", key, other, COINBASE_BODY).reason is Reason.SIGNATURE_MISMATCH


# standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py (MIT)
STANDARD_SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_NOW = datetime.fromtimestamp(1614265330, UTC)


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_standard_webhooks_library(prefix):
    verdict = check(
        "standard-webhooks", prefix + STANDARD_SECRET, STANDARD_HEADERS, STANDARD_BODY, STANDARD_NOW
    )
    assert verdict.ok
    assert verdict.provider_event_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert verdict.signed_at == STANDARD_NOW


def test_standard_webhooks_accepts_any_signature_of_several():
    # Same source, test_multi_sig_payload_is_valid.
    other = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
    several = f"v1,{other} v2,{other} {STANDARD_HEADERS['webhook-signature']} v1,{other}"
    headers = STANDARD_HEADERS | {"webhook-signature": several}
    assert check("standard-webhooks", STANDARD_SECRET, headers, STANDARD_BODY, STANDARD_NOW).ok


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook-id": None}, Reason.HEADER_MISSING),
        ({"webhook-timestamp": None}, Reason.HEADER_MISSING),
        ({"webhook-timestamp": "hello"}, Reason.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "1614265029"}, Reason.TIMESTAMP_TOO_OLD),
        ({"webhook-timestamp": "1614265631"}, Reason.TIMESTAMP_IN_FUTURE),
        ({"webhook-timestamp": "1614265331"}, Reason.SIGNATURE_MISMATCH),
        ({"webhook-signature": None}, Reason.SIGNATURE_MISSING),
        ({"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="}, Reason.SIGNATURE_MISMATCH),
        ({"webhook-signature": "v1,"}, Reason.SIGNATURE_MALFORMED),
        ({"webhook-id": "msg.p5"}, Reason.SIGNATURE_MALFORMED),
    ],
)
def test_standard_webhooks_refusals(changes, reason):
    headers = {k: v for k, v in (STANDARD_HEADERS | changes).items() if v is not None}
    verdict = check("standard-webhooks", STANDARD_SECRET, headers, STANDARD_BODY, STANDARD_NOW)
    assert (verdict.ok, verdict.reason) == (False, reason)


# standard-webhooks, libraries/go/webhook_asymmetric_test.go, TestAsymmetricWebhookSign (MIT)
V1A_SEED = "VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
V1A = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="


def public_key(seed: str) -> str:
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed))
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return "whpk_" + base64.b64encode(raw).decode()


def test_standard_webhooks_ed25519():
    headers = STANDARD_HEADERS | {"webhook-signature": f"v1,AAAA {V1A}"}
    args = (headers, STANDARD_BODY, STANDARD_NOW)
    assert check("standard-webhooks", public_key(V1A_SEED), *args).ok
    # Same source: another key pair of that test file.
    stranger = public_key("V0VCSE9PS0FTWU1NRVRSSUNURVNUUFJJVkFURUtFWTE=")
    assert check("standard-webhooks", stranger, *args).reason is Reason.SIGNATURE_MISMATCH
    # A v1 signature made with the public key as if it were a secret must never count.
    confused = check("standard-webhooks", public_key(V1A_SEED), STANDARD_HEADERS, STANDARD_BODY, STANDARD_NOW)
    assert confused.reason is Reason.SIGNATURE_MISMATCH


# Adyen/adyen-python-api-library, test/UtilTest.py and test/mocks/util/*.json (MIT)
ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ADYEN_ITEM = {
    "pspReference": "7914073381342284",
    "merchantReference": "TestPayment-1407325143704",
    "merchantAccountCode": "TestMerchant",
    "amount": {"currency": "EUR", "value": 1130},
    "eventCode": "AUTHORISATION",
    "success": "true",
    "eventDate": "2019-05-06T17:15:34.121+02:00",
    "operations": ["CANCEL", "CAPTURE", "REFUND"],
    "paymentMethod": "visa",
    "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
}
ADYEN_SLASH_KEY = "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174"


def adyen_body(*items):
    return msgspec.json.encode(
        {"live": "false", "notificationItems": [{"NotificationRequestItem": item} for item in items]}
    )


def slash_item(reference, psp, signature):
    return {
        "additionalData": {"hmacSignature": signature},
        "amount": {"currency": "EUR", "value": 1000},
        "eventCode": "AUTHORISATION",
        "merchantAccountCode": "AntoniStroinski",
        "merchantReference": reference,
        "pspReference": psp,
        "success": "true",
    }


@pytest.mark.parametrize(
    ("key", "item"),
    [
        (ADYEN_KEY, ADYEN_ITEM),
        (
            ADYEN_SLASH_KEY,
            slash_item(
                "\\\\slashes are fun", "T7FD4VM4D3RZNN82", "nIgT81gaB5oJpn2jPXupDq68iRo2wUlBsuYjtYfwKqo="
            ),
        ),
        (
            ADYEN_SLASH_KEY,
            slash_item(
                ":slashes are fun", "M8NB66SBZSGLNK82", "2EQYm7YJpKO4EtHSPu55SQTyWf8dkW5u2nD1tJFpViA="
            ),
        ),
        (
            ADYEN_SLASH_KEY,
            slash_item(
                "//slashes are fun", "X3GWNS6KJ8NKGK82", "9Z0xdpG9Xi3zcmXv14t/BvMBut77O/Xq9D4CQXSDUi4="
            ),
        ),
    ],
    ids=["plain", "backslash", "colon", "forward slash"],
)
def test_adyen_library(key, item):
    verdict = check("adyen", key, {}, adyen_body(item))
    assert verdict.ok
    assert verdict.reply is not None
    assert (verdict.reply.status, verdict.reply.body) == (200, b"[accepted]")
    assert verdict.provider_event_id == f"AUTHORISATION:{item['pspReference']}:true"
    changed = item | {"amount": {"currency": "EUR", "value": 999}}
    assert check("adyen", key, {}, adyen_body(changed)).reason is Reason.SIGNATURE_MISMATCH
    # One good item does not carry a forged one in.
    assert not check("adyen", key, {}, adyen_body(item, changed)).ok


ADYEN_HEADER_BODY = b"""
        {
            "type": "merchant.created",
            "environment": "test",
            "createdAt": "01-01-2024",
            "data": {
                "capabilities": {
                    "sendToTransferInstrument": {
                        "requested": true,
                        "requestedLevel": "notApplicable"
                    }
                },
                "companyId": "YOUR_COMPANY_ID",
                "merchantId": "YOUR_MERCHANT_ACCOUNT",
                "status": "PreActive"
            }
        }
        """


def test_adyen_header_form():
    # Same source, test_is_valid_hmac_payload and test_is_invalid_hmac_payload.
    headers = {"HmacSignature": "fX74xUdztFmaXAn3IusMFFUBUSkLmDQUK0tm8xL6ZTU="}
    assert check("adyen-header", ADYEN_KEY, headers, ADYEN_HEADER_BODY).ok
    wrong = {"HmacSignature": "MismatchingHmacKey="}
    assert check("adyen-header", ADYEN_KEY, wrong, ADYEN_HEADER_BODY).reason is Reason.SIGNATURE_MALFORMED


# PayPal's SDK tests use this message; their expected text ends in crc32(body) & 0xffffffff
PAYPAL_BODY = (
    b'{"id":"WH-0G2756385H040842W-5Y612302CV158622M","create_time":"2015-05-18T15:45:13Z",'
    b'"resource_type":"sale","event_type":"PAYMENT.SALE.COMPLETED",'
    b'"summary":"Payment completed for $ 20.0 USD","resource":{"id":"4EU7004268015634R",'
    b'"create_time":"2015-05-18T15:44:02Z","update_time":"2015-05-18T15:44:21Z",'
    b'"amount":{"total":"20.00","currency":"USD"},"payment_mode":"INSTANT_TRANSFER","state":"completed",'
    b'"protection_eligibility":"ELIGIBLE",'
    b'"protection_eligibility_type":"ITEM_NOT_RECEIVED_ELIGIBLE,UNAUTHORIZED_PAYMENT_ELIGIBLE",'
    b'"parent_payment":"PAY-86C81811X5228590KKVNARQQ",'
    b'"transaction_fee":{"value":"0.88","currency":"USD"},'
    b'"links":[{"href":"https://api.sandbox.paypal.com/v1/payments/sale/4EU7004268015634R","rel":"self",'
    b'"method":"GET"},{"href":"https://api.sandbox.paypal.com/v1/payments/sale/4EU7004268015634R/refund",'
    b'"rel":"refund","method":"POST"},'
    b'{"href":"https://api.sandbox.paypal.com/v1/payments/payment/PAY-86C81811X5228590KKVNARQQ",'
    b'"rel":"parent_payment","method":"GET"}]},'
    b'"links":[{"href":"https://api.sandbox.paypal.com/v1/notifications/webhooks-events/'
    b'WH-0G2756385H040842W-5Y612302CV158622M","rel":"self","method":"GET"},'
    b'{"href":"https://api.sandbox.paypal.com/v1/notifications/webhooks-events/'
    b'WH-0G2756385H040842W-5Y612302CV158622M/resend","rel":"resend","method":"POST"}]}'
)


def test_paypal_signed_text():
    text = signed_text(
        b"dfb3be50-fd74-11e4-8bf3-77339302725b", b"2015-05-18T15:45:13Z", b"4JH86294D6297924G", PAYPAL_BODY
    )
    assert text == b"dfb3be50-fd74-11e4-8bf3-77339302725b|2015-05-18T15:45:13Z|4JH86294D6297924G|2771810304"
    assert zlib.crc32(PAYPAL_BODY) > 2**31  # a signed reading of the checksum would be negative here


def test_stripe_vector():
    # No vector with a key is published; this one was computed with `openssl dgst -sha256 -hmac`.
    headers = {
        "Stripe-Signature": "t=1492774577,"
        "v1=654b43d3508ecadb3f8cefc4bc7d3d2bdc5ba9e03bf2c89b2d0657a8e24e4543,"
        "v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    }
    now = datetime.fromtimestamp(1492774577, UTC)
    verdict = check("stripe", "whsec_test_secret", headers, b'{"id":"evt_1","object":"event"}', now)
    assert verdict.ok
    assert verdict.provider_event_id == "evt_1"


def test_paysafe_vector():
    # No vector with a key is published; this one was computed with `openssl dgst -sha256 -mac HMAC`.
    headers = {"Signature": "B+xWJyIsVmr8lxupL713B7j+bF0hkQ/AtoBt8bKq7vM="}
    body = b'{"mode":"test","eventDate":"2017-09-07T13:27:32Z","eventType":"test","attemptNumber":1}'
    key = base64.b64encode(b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef").decode()
    assert check("paysafe", key, headers, body).ok
