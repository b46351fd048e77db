"""PayPal: SHA256withRSA by a certificate PayPal names in a header, over a CRC32 of the body.

The certificate itself is an input: `certificate_url` says what may be fetched (and refuses any other host),
somebody else fetches and caches it, `verify` checks its chain against a given CA bundle before using it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from binascii import b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import verification

from .bodies import EventId
from .interface import Headers, Reason, Verdict, refuse

DEFAULT_HOSTS = (".paypal.com",)
MAX_CERTIFICATE_BYTES = 64 * 1024
# A chain is checked again after this time; PayPal uses one or two certificates at a time.
_CHAIN_GOOD_FOR = timedelta(hours=1)
_CHAINS_KEPT = 8


class PayPal:
    """Verifies PayPal webhooks for one `webhook_id`, trusting only roots in `ca_bundle` (PEM).

    An entry of `certificate_hosts` that begins with a full stop allows every name below it, another one
    exactly that name; the certificate has to be issued for such a name too.
    """

    def __init__(
        self,
        *,
        webhook_id: str,
        ca_bundle: bytes,
        certificate_hosts: Sequence[str] = DEFAULT_HOSTS,
        scheme: str = "paypal",
        tolerance: timedelta | None = None,
    ) -> None:
        self.scheme = scheme
        if not webhook_id or not webhook_id.isascii() or "|" in webhook_id:
            raise ValueError("webhook_id: missing; PayPal shows it beside the webhook's address")
        if not certificate_hosts:
            raise ValueError("certificate_hosts: missing; without one any certificate could be named")
        try:
            roots = x509.load_pem_x509_certificates(ca_bundle)
        except ValueError:
            raise ValueError("ca_bundle: holds no PEM certificate") from None
        self._store = verification.Store(roots)
        self._webhook_id = webhook_id.encode("ascii")
        self._hosts = tuple(host.lower() for host in certificate_hosts)
        self._tolerance = tolerance
        self._event_id = EventId(("id",))
        self._chains: dict[bytes, tuple[datetime, rsa.RSAPublicKey, str]] = {}

    def certificate_url(self, headers: Headers) -> str | Reason:
        """Return the address the certificate may be fetched from, or why nothing may be fetched."""
        value = headers.one(b"paypal-cert-url")
        if isinstance(value, Reason):
            return value
        try:
            url = value.decode("ascii")
            parts = urlsplit(url)
            plain = parts.username is None and parts.password is None and parts.port in (None, 443)
        except (UnicodeDecodeError, ValueError):
            return Reason.CERTIFICATE_HOST_REFUSED
        # urlsplit drops control characters silently, so an address that holds any is not passed on.
        clean = url.isprintable() and not set(url) & set(" \\#")
        if parts.scheme != "https" or not plain or not clean or not self._allowed(parts.hostname):
            return Reason.CERTIFICATE_HOST_REFUSED
        return url

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Check host, algorithm, chain and signature, in this order."""
        signature = headers.one(b"paypal-transmission-sig")
        if isinstance(signature, Reason):
            return refuse(Reason.SIGNATURE_MISSING if signature is Reason.HEADER_MISSING else signature)
        identifier = headers.one(b"paypal-transmission-id")
        stamp = headers.one(b"paypal-transmission-time")
        algorithm = headers.one(b"paypal-auth-algo")
        for needed in (identifier, stamp, algorithm):
            if isinstance(needed, Reason):
                return refuse(needed)
        assert isinstance(identifier, bytes)
        assert isinstance(stamp, bytes)
        if algorithm != b"SHA256withRSA":
            return refuse(Reason.ALGORITHM_REFUSED)
        moment = _read_time(stamp)
        if moment is None:
            return refuse(Reason.TIMESTAMP_MALFORMED)
        if self._tolerance is not None and abs(now - moment) > self._tolerance:
            return refuse(Reason.TIMESTAMP_TOO_OLD if now > moment else Reason.TIMESTAMP_IN_FUTURE)
        url = self.certificate_url(headers)
        if isinstance(url, Reason):
            return refuse(url)
        if certificate is None:
            return refuse(Reason.CERTIFICATE_MISSING)
        chain = self._chain(certificate, now)
        if chain is None:
            return refuse(Reason.CERTIFICATE_REFUSED)
        public, key_id = chain
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return refuse(Reason.SIGNATURE_MALFORMED)
        if b2a_base64(raw, newline=False) != signature:
            return refuse(Reason.SIGNATURE_MALFORMED)
        message = signed_text(identifier, stamp, self._webhook_id, body)
        try:
            public.verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return refuse(Reason.SIGNATURE_MISMATCH)
        return Verdict(
            ok=True,
            reason=Reason.OK,
            provider_event_id=self._event_id.read(body),
            signed_at=moment,
            key_id=key_id,
        )

    def _allowed(self, host: str | None) -> bool:
        if not host:
            return False
        return any(host.endswith(known) if known[0] == "." else host == known for known in self._hosts)

    def _chain(self, certificate: bytes, now: datetime) -> tuple[rsa.RSAPublicKey, str] | None:
        """Return the leaf's key and serial when its chain ends in the bundle, None otherwise."""
        known = self._chains.get(certificate)
        if known is not None and abs(now - known[0]) < _CHAIN_GOOD_FOR:
            return known[1], known[2]
        if len(certificate) > MAX_CERTIFICATE_BYTES:
            return None
        checked = self._check_chain(certificate, now)
        self._chains.pop(certificate, None)
        if checked is not None:
            while len(self._chains) >= _CHAINS_KEPT:
                del self._chains[next(iter(self._chains))]
            self._chains[certificate] = (now, *checked)
        return checked

    def _check_chain(self, certificate: bytes, now: datetime) -> tuple[rsa.RSAPublicKey, str] | None:
        try:
            leaf, *between = x509.load_pem_x509_certificates(certificate)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            name = next(n for n in names.get_values_for_type(x509.DNSName) if self._allowed(n.lower()))
            policy = verification.PolicyBuilder().store(self._store).time(now)
            policy.build_server_verifier(x509.DNSName(name)).verify(leaf, between)
            public = leaf.public_key()
        except (ValueError, StopIteration, x509.ExtensionNotFound, verification.VerificationError):
            return None
        if not isinstance(public, rsa.RSAPublicKey) or public.key_size < 2048:
            return None
        return public, f"cert-{leaf.serial_number:x}"[:64]


def signed_text(identifier: bytes, stamp: bytes, webhook_id: bytes, body: bytes) -> bytes:
    """Return what PayPal signs; the CRC32 stands there as an unsigned decimal number."""
    return b"|".join((identifier, stamp, webhook_id, str(zlib.crc32(body)).encode("ascii")))


def _read_time(text: bytes) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:  # UnicodeDecodeError is one too
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
