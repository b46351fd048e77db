"""TLS for a listener: TLS 1.2 at least, the certificate read again without a restart."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, Problem

# Forward secrecy and authenticated encryption only; TLS 1.3 chooses its own, all of them good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerTls:
    """A server's certificate and key. `context` stays the same object over reloads."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        protocols: Sequence[str] = ("http/1.1",),
        table: str = "http",
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._table = table
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.context.set_ciphers(_CIPHERS)
        self.context.set_alpn_protocols(list(protocols))
        self.reload()

    def reload(self) -> None:
        """Read the files again; connections from now on use them.

        Raises `ConfigError`, naming the file, when they are missing or do not fit, and keeps the old ones.
        """
        for option, path in (("tls_cert", self._certificate), ("tls_key", self._key)):
            if not path.is_file():
                raise self._problem(option, f"there is no file {path}", "give the path of a PEM file")
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for context in (trial, self.context):
            try:
                context.load_cert_chain(self._certificate, self._key, password=_no_password)
            except (ssl.SSLError, OSError, ValueError) as error:
                reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
                raise self._problem(
                    "tls_cert",
                    f"{self._certificate} and {self._key} cannot be used: {reason}",
                    "give a PEM certificate chain and its unencrypted key",
                ) from error

    def _problem(self, option: str, what: str, hint: str) -> ConfigError:
        return ConfigError([Problem(f"{self._table}.{option}", what, hint)])


def _no_password() -> str:
    raise ValueError("the key is encrypted")
