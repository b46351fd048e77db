"""PayPal: pinned host, checked chain, CRC32 of the body; certificates are made here."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wharfd_netbanx.schemes import Headers, PayPal, Reason
from wharfd_netbanx.schemes.paypal import signed_text

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
BODY = b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}'
URL = "https://api.paypal.com/v1/notifications/certs/CERT-1"


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def authority(common):
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key()
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name(common))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=30))
        .not_valid_after(NOW + timedelta(days=300))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return private, builder.sign(private, hashes.SHA256())


def leaf(issuer, host, begin=NOW - timedelta(days=1), end=NOW + timedelta(days=90)):
    issuer_key, issuer_certificate = issuer
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(host))
        .issuer_name(issuer_certificate.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(identifier, critical=False)
    )
    return private, builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def roots():
    return authority("root of the test"), authority("some other root")


@pytest.fixture(scope="module")
def signer(roots):
    return leaf(roots[0], "messageverificationcerts.paypal.com")


@pytest.fixture
def verifier(roots):
    return PayPal(webhook_id="4JH86294D6297924G", ca_bundle=roots[0][1].public_bytes(Encoding.PEM))


def signed(private, body=BODY, webhook_id=b"4JH86294D6297924G", **changes):
    text = signed_text(b"tx-1", b"2026-08-01T11:59:30Z", webhook_id, body)
    signature = private.sign(text, padding.PKCS1v15(), hashes.SHA256())
    headers = {
        "PAYPAL-TRANSMISSION-ID": "tx-1",
        "PAYPAL-TRANSMISSION-TIME": "2026-08-01T11:59:30Z",
        "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
        "PAYPAL-CERT-URL": URL,
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
    }
    headers |= {key.replace("_", "-"): value for key, value in changes.items()}
    return Headers({key: value for key, value in headers.items() if value is not None})


def test_a_good_delivery(verifier, signer):
    private, certificate = signer
    verdict = verifier.verify(signed(private), BODY, NOW, certificate)
    assert (verdict.ok, verdict.provider_event_id) == (True, "WH-1")
    assert verdict.signed_at == datetime(2026, 8, 1, 11, 59, 30, tzinfo=UTC)
    assert verdict.key_id is not None
    assert verdict.key_id.startswith("cert-")
    assert verifier.verify(signed(private), BODY, NOW, certificate).ok  # from the kept chain


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PAYPAL_TRANSMISSION_SIG": None}, Reason.SIGNATURE_MISSING),
        ({"PAYPAL_TRANSMISSION_SIG": "%%%"}, Reason.SIGNATURE_MALFORMED),
        ({"PAYPAL_TRANSMISSION_SIG": "AAAA"}, Reason.SIGNATURE_MISMATCH),
        ({"PAYPAL_TRANSMISSION_ID": None}, Reason.HEADER_MISSING),
        ({"PAYPAL_TRANSMISSION_ID": "tx-2"}, Reason.SIGNATURE_MISMATCH),
        ({"PAYPAL_TRANSMISSION_TIME": "2026-08-01T11:59:31Z"}, Reason.SIGNATURE_MISMATCH),
        ({"PAYPAL_TRANSMISSION_TIME": "soon"}, Reason.TIMESTAMP_MALFORMED),
        ({"PAYPAL_AUTH_ALGO": "SHA1withRSA"}, Reason.ALGORITHM_REFUSED),
        ({"PAYPAL_AUTH_ALGO": None}, Reason.HEADER_MISSING),
        ({"PAYPAL_CERT_URL": None}, Reason.HEADER_MISSING),
        ({"PAYPAL_CERT_URL": "https://evil.example/c"}, Reason.CERTIFICATE_HOST_REFUSED),
    ],
)
def test_refusals(verifier, signer, changes, reason):
    private, certificate = signer
    assert verifier.verify(signed(private, **changes), BODY, NOW, certificate).reason is reason


def test_another_body_or_webhook_is_refused(verifier, signer):
    private, certificate = signer
    assert verifier.verify(signed(private), BODY + b" ", NOW, certificate).reason is Reason.SIGNATURE_MISMATCH
    other = signed(private, webhook_id=b"OTHER")
    assert verifier.verify(other, BODY, NOW, certificate).reason is Reason.SIGNATURE_MISMATCH


def test_the_chain_has_to_end_in_the_bundle_and_be_current(verifier, roots, signer):
    private, certificate = signer
    assert verifier.verify(signed(private), BODY, NOW).reason is Reason.CERTIFICATE_MISSING
    for issuer, host, window in (
        (roots[1], "messageverificationcerts.paypal.com", {}),
        (roots[0], "messageverificationcerts.example.com", {}),
        (roots[0], "notpaypal.com", {}),
        (roots[0], "m.paypal.com", {"end": NOW - timedelta(hours=1)}),
        (roots[0], "m.paypal.com", {"begin": NOW + timedelta(hours=1)}),
    ):
        key, pem = leaf(issuer, host, **window)
        assert verifier.verify(signed(key), BODY, NOW, pem).reason is Reason.CERTIFICATE_REFUSED
    for pem in (b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert verifier.verify(signed(private), BODY, NOW, pem).reason is Reason.CERTIFICATE_REFUSED
    after = NOW + timedelta(days=120)
    assert verifier.verify(signed(private), BODY, NOW, certificate).ok
    assert verifier.verify(signed(private), BODY, after, certificate).reason is Reason.CERTIFICATE_REFUSED


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (URL, True),
        ("https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1", True),
        ("https://API.PAYPAL.COM:443/c", True),
        ("http://api.paypal.com/c", False),
        ("https://api.paypal.com:8443/c", False),
        ("https://api.paypal.com.evil.example/c", False),
        ("https://paypal.com.evil.example/.paypal.com", False),
        ("https://evilpaypal.com/c", False),
        ("https://user@api.paypal.com/c", False),
        ("https://api.paypal.com@evil.example/c", False),
        ("https://evil.example\\.paypal.com/c", False),
        ("https://evil.example#.paypal.com/c", False),
        ("https://api.paypal.com:x/c", False),
        ("https://[::1/c", False),
        ("file:///etc/passwd", False),
    ],
)
def test_only_pinned_hosts_may_be_fetched(verifier, url, allowed):
    found = verifier.certificate_url(Headers({"PayPal-Cert-Url": url}))
    assert (found == url) is allowed
    assert allowed or found is Reason.CERTIFICATE_HOST_REFUSED


def test_exact_hosts_can_be_pinned(roots):
    bundle = roots[0][1].public_bytes(Encoding.PEM)
    verifier = PayPal(webhook_id="1", ca_bundle=bundle, certificate_hosts=["api.paypal.com"])
    assert verifier.certificate_url(Headers({"paypal-cert-url": URL})) == URL
    other = Headers({"paypal-cert-url": URL.replace("api.", "api-m.")})
    assert verifier.certificate_url(other) is Reason.CERTIFICATE_HOST_REFUSED
