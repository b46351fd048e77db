"""`explain` names the setting that fits, and the traps in plain words."""

from __future__ import annotations

import base64
import hmac

import pytest

from wharfd_netbanx.schemes import Headers, explain

BODY = b'{"eventName":"PAYMENT_COMPLETED"}'
BINARY = bytes(range(32))
HEX_TEXT = BINARY.hex()
PORTAL = base64.b64encode(HEX_TEXT.encode()).decode()  # base64 of 64 hexadecimal characters


def signature(secret, encode=base64.b64encode, body=BODY, digest="sha256"):
    return encode(hmac.digest(secret, body, digest)).decode()


def to_hex(raw):
    return raw.hex().encode()


@pytest.mark.parametrize(
    ("typed", "value", "settings", "words"),
    [
        (base64.b64encode(BINARY).decode(), signature(BINARY), {"key_encoding": "base64"}, "read as base64"),
        ("plain secret", signature(b"plain secret"), {"key_encoding": "utf8"}, "read as plain text"),
        (HEX_TEXT, signature(BINARY), {"key_encoding": "hex"}, "read as hexadecimal"),
        (PORTAL, signature(HEX_TEXT.encode()), {"key_encoding": "base64"}, "not a second time"),
        (HEX_TEXT, signature(HEX_TEXT.encode()), {"key_encoding": "utf8"}, "is already decoded"),
        (PORTAL, signature(BINARY), {}, "decodes the key twice"),
        (
            "plain secret",
            signature(b"plain secret", to_hex),
            {"key_encoding": "utf8", "digest_encoding": "hex"},
            "in hex",
        ),
        (
            "plain secret",
            "sha256=" + signature(b"plain secret", to_hex),
            {"prefix": "sha256=", "digest_encoding": "hex"},
            'prefix = "sha256="',
        ),
        ("plain secret", signature(b"plain secret", digest="sha512"), {"digest": "sha512"}, "SHA512"),
        (
            base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode().rstrip("="),
            signature(b"\xfb\xff" * 16),
            {"key_encoding": "base64"},
            "standard base64 with its padding",
        ),
        ("secret\n", signature(b"secret\n"), {}, "blanks or a line end"),
    ],
)
def test_the_fitting_setting_is_named(typed, value, settings, words):
    findings = explain(BODY, Headers({"Signature": value}), ["some other key", typed])
    assert findings[0].fits
    assert findings[0].settings["signature_header"] == "Signature"
    assert settings.items() <= findings[0].settings.items()
    if not settings:  # a reading that no setting offers; the sentence says what to do instead
        assert "key_encoding" not in findings[0].settings
    assert words in findings[0].sentence
    assert findings[0].sentence.startswith("key 2 ")
    assert typed.strip() not in findings[0].sentence


def test_other_headers_and_texts_are_tried():
    url = "https://pay.example.com/hook"
    value = signature(b"key of square", body=url.encode() + BODY)
    found = explain(BODY, Headers({"X-Square-Signature": value}), ["key of square"], public_url=url)
    assert "public URL" in found[0].sentence
    stamped = signature(b"whsec_x", to_hex, b"1492774577." + BODY)
    found = explain(BODY, Headers({"Stripe-Signature": f"t=1492774577,v1={stamped}"}), ["whsec_x"])
    assert "time and body" in found[0].sentence
    standard = {"webhook-id": "m", "webhook-timestamp": "1", "webhook-signature": ""}
    standard["webhook-signature"] = "v1," + signature(BINARY, body=b"m.1." + BODY)
    found = explain(BODY, Headers(standard), [base64.b64encode(BINARY).decode()])
    assert "id, timestamp and body" in found[0].sentence


def test_when_nothing_fits_the_likely_reasons_are_named():
    found = explain(BODY, Headers({"Signature": signature(b"right")}), ["wrong"])
    assert not any(finding.fits for finding in found)
    text = " ".join(finding.sentence for finding in found)
    assert "no reading of 1 key" in text
    assert "proxy" in text
    assert "portal" in text


def test_nothing_to_compare():
    assert "no header" in explain(BODY, Headers({"Accept": "*/*"}), ["k"])[0].sentence
    assert "no key" in explain(BODY, Headers({"Signature": "AAAA"}), [])[0].sentence
    assert "key 1 is empty" in explain(BODY, Headers({"Signature": "AAAA"}), [" "])[0].sentence
    rsa = base64.b64encode(bytes(256)).decode()
    text = " ".join(f.sentence for f in explain(BODY, Headers({"Signature": rsa}), ["k"]))
    assert "256 bytes" in text
