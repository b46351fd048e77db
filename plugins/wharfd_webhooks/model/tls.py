"""What an owner gives for the TLS of an endpoint: authorities to trust, a certificate to show. Checked, pure.

Everything is checked when it is given: at send time a bad certificate would only be a failure with a poor
reason.
"""

from __future__ import annotations

import ssl
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

MOST_BYTES = 65536
_KEY_MARK = "PRIVATE KEY-----"


class TlsProblem(ValueError):
    """What is wrong, as a sentence; it never quotes what was given."""


def read_certificates(text: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM text; raises `TlsProblem` when there is none, or a private key."""
    if len(text) > MOST_BYTES:
        raise TlsProblem(f"may have at most {MOST_BYTES} characters")
    if _KEY_MARK in text:
        raise TlsProblem("holds a private key; only certificates belong here")
    try:
        found = x509.load_pem_x509_certificates(text.encode("ascii"))
    except ValueError:
        raise TlsProblem("must be one or more certificates as PEM (-----BEGIN CERTIFICATE-----)") from None
    return found


def authorities_end(text: str, now: datetime) -> datetime:
    """Check authorities and return when the last of them ends: until then something can be verified."""
    ends = max(one.not_valid_after_utc for one in read_certificates(text))
    if ends <= now:
        raise TlsProblem(f"is not valid any more, since {ends:%Y-%m-%d}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TlsProblem("is not accepted as an authority by OpenSSL") from None
    return ends


def client_certificate_ends(text: str, now: datetime) -> datetime:
    """Check a client certificate with its chain, the own one first, and return when the first one ends."""
    ends = min(one.not_valid_after_utc for one in read_certificates(text))
    if ends <= now:
        raise TlsProblem(f"is not valid any more, since {ends:%Y-%m-%d}")
    return ends


def check_client_key(certificate: str, key: str) -> None:
    """Raise `TlsProblem` unless the key is an unencrypted PEM key and belongs to the certificate."""
    if len(key) > MOST_BYTES:
        raise TlsProblem(f"may have at most {MOST_BYTES} characters")
    try:
        private = serialization.load_pem_private_key(key.encode("ascii"), password=None)
    except TypeError:
        raise TlsProblem("is protected by a passphrase; give it without one, it is kept encrypted") from None
    except Exception:  # whatever cryptography finds wrong with it; the text must not be quoted
        raise TlsProblem("must be a private key as PEM (-----BEGIN PRIVATE KEY-----)") from None
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = read_certificates(certificate)[0].public_key().public_bytes(*spki)
    if private.public_key().public_bytes(*spki) != own:
        raise TlsProblem("does not belong to clientCertificate")
