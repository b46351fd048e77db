"""TLS for outbound connections: always verified, never below 1.2."""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import certifi

from ...errors import TlsFailed

_KEPT_CONTEXTS = 256


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate chain and its private key, both PEM; the key is not shown in a repr."""

    certificate: str
    key: str = field(repr=False)


class TlsContexts:
    """Makes one SSL context per (CA, client certificate) and keeps the ones used last."""

    def __init__(self, extra_ca: str | None = None) -> None:
        self._extra_ca = extra_ca
        self._kept: OrderedDict[tuple[str | None, ClientCertificate | None], ssl.SSLContext] = OrderedDict()

    def get(self, ca: str | None, client_cert: ClientCertificate | None) -> ssl.SSLContext:
        """Return the context that trusts `ca` alone (PEM; None: the system's authorities)."""
        key = (ca, client_cert)
        context = self._kept.get(key)
        if context is None:
            context = self._kept[key] = self._make(ca, client_cert)
            if len(self._kept) > _KEPT_CONTEXTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return context

    def _make(self, ca: str | None, client_cert: ClientCertificate | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks host name and chain
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False  # names belong into subjectAltName, RFC 9110 4.3.4
        context.set_alpn_protocols(["http/1.1"])
        try:
            if ca is not None:
                context.load_verify_locations(cadata=ca)
            else:
                _load_system_authorities(context)
                if self._extra_ca is not None:
                    context.load_verify_locations(cadata=self._extra_ca)
        except (ssl.SSLError, ValueError) as exc:
            raise TlsFailed("the certificate authority given is not valid PEM") from exc
        if client_cert is not None:
            try:
                _load_client_certificate(context, client_cert)
            except (ssl.SSLError, ValueError):
                # without the cause: OpenSSL's text may quote the file
                raise TlsFailed("the client certificate and its key are not a matching PEM pair") from None
        return context


def _load_system_authorities(context: ssl.SSLContext) -> None:
    """Trust what the system trusts; on a system without a certificate store, what certifi ships."""
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.capath) if paths.capath else None
    if paths.cafile or (folder is not None and folder.is_dir() and any(folder.iterdir())):
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=certifi.where())


def _load_client_certificate(context: ssl.SSLContext, pair: ClientCertificate) -> None:
    """Load the pair through an anonymous file in memory: OpenSSL reads files only, the disk sees no key."""
    file = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as out:
            out.write(pair.certificate.encode() + b"\n" + pair.key.encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=lambda: b"")
    finally:
        os.close(file)
