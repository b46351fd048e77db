"""Requests signed with the secret of an integration, so that the secret itself never travels.

    X-Wharfd-Key:        whk_live_<short>            (the public part of the key)
    X-Wharfd-Timestamp:  1767225600                  (seconds since 1970, at most five minutes off)
    X-Wharfd-Nonce:      16 to 64 of A-Z a-z 0-9 _ - (never twice with one key)
    X-Wharfd-Signature:  v1=<hex>

    hex = HMAC-SHA256(secret, text)
    text = "v1", key, timestamp, nonce, METHOD, target, hex of SHA-256(body), joined by line feeds

`target` is the path with its query, byte for byte as in the request line.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

KEY_FIELD = "x-wharfd-key"
TIMESTAMP_FIELD = "x-wharfd-timestamp"
NONCE_FIELD = "x-wharfd-nonce"
SIGNATURE_FIELD = "x-wharfd-signature"

_TIMESTAMP = re.compile(r"[0-9]{9,11}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SIGNATURE = re.compile(r"v1=([0-9a-f]{64})")


@dataclass(frozen=True)
class SignedHead:
    """The four fields of a signed request, well-formed and not yet verified."""

    key: str
    timestamp: int
    nonce: str
    signature: str


def read_head(headers: Mapping[str, str]) -> SignedHead | str:
    """Return the four fields, or the sentence that says which of them is missing or wrong."""
    values = {name: headers.get(name) for name in (KEY_FIELD, TIMESTAMP_FIELD, NONCE_FIELD, SIGNATURE_FIELD)}
    for name, value in values.items():
        if not value:
            return f"a signed request needs the header {name}"
    timestamp, nonce = values[TIMESTAMP_FIELD] or "", values[NONCE_FIELD] or ""
    signature = _SIGNATURE.fullmatch(values[SIGNATURE_FIELD] or "")
    if not _TIMESTAMP.fullmatch(timestamp):
        return f"{TIMESTAMP_FIELD} is not a time in whole seconds since 1970"
    if not _NONCE.fullmatch(nonce):
        return f"{NONCE_FIELD} must have 16 to 64 of the characters A-Z a-z 0-9 _ -"
    if signature is None:
        return f"{SIGNATURE_FIELD} must be v1= and 64 hexadecimal digits in lower case"
    return SignedHead(values[KEY_FIELD] or "", int(timestamp), nonce, signature[1])


def signature_of(
    secret: str, *, key: str, timestamp: int, nonce: str, method: str, target: str, body: bytes
) -> str:
    """The hexadecimal signature of a request."""
    digest = hashlib.sha256(body).hexdigest()
    signed = "\n".join(["v1", key, str(timestamp), nonce, method.upper(), target, digest])
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()


def signed_headers(
    secret: str, *, key: str, timestamp: int, nonce: str, method: str, target: str, body: bytes = b""
) -> dict[str, str]:
    """The header fields a caller sends with a signed request."""
    signature = signature_of(
        secret, key=key, timestamp=timestamp, nonce=nonce, method=method, target=target, body=body
    )
    return {
        KEY_FIELD: key,
        TIMESTAMP_FIELD: str(timestamp),
        NONCE_FIELD: nonce,
        SIGNATURE_FIELD: f"v1={signature}",
    }


def is_signed_by(head: SignedHead, secret: str, *, method: str, target: str, body: bytes) -> bool:
    """Whether the signature is the one this secret gives, compared in constant time."""
    expected = signature_of(
        secret,
        key=head.key,
        timestamp=head.timestamp,
        nonce=head.nonce,
        method=method,
        target=target,
        body=body,
    )
    return hmac.compare_digest(expected, head.signature)
