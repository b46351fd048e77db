"""Outbound HTTP: vetted addresses, one deadline, capped answers. `docs/outbound-http.md` is the guide."""

from __future__ import annotations

from ...errors import (
    AddressRefused,
    AnswerBroken,
    AnswerHeadTooLarge,
    ConnectFailed,
    ConnectionLost,
    HeaderRefused,
    NameNotResolved,
    OutboundError,
    OutboundTimeout,
    TlsFailed,
    UrlRefused,
)
from .answer import OutboundResponse, Timings
from .client import OutboundClient, OutboundStatistics
from .dialing import Resolver
from .headers import FRAMING_HEADERS, check_header
from .policy import NetworkPolicy
from .pool import Limits
from .tls import ClientCertificate
from .urls import Target, parse_url

__all__ = [
    "FRAMING_HEADERS",
    "AddressRefused",
    "AnswerBroken",
    "AnswerHeadTooLarge",
    "ClientCertificate",
    "ConnectFailed",
    "ConnectionLost",
    "HeaderRefused",
    "Limits",
    "NameNotResolved",
    "NetworkPolicy",
    "OutboundClient",
    "OutboundError",
    "OutboundResponse",
    "OutboundStatistics",
    "OutboundTimeout",
    "Resolver",
    "Target",
    "Timings",
    "TlsFailed",
    "UrlRefused",
    "check_header",
    "parse_url",
]
