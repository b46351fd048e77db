"""Reads a URL once and strictly, so that no two parts of wharfd can understand it differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import idna

from ...errors import UrlRefused

MAX_URL = 4096
_SHAPE = re.compile(r"(https?)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?(#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
# RFC 3986 pchar, "/", "?" and well-formed escapes
_TARGET = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """A URL taken apart: where to connect and what to ask for."""

    scheme: str
    host: str
    port: int
    path: str
    literal: IPv4Address | IPv6Address | None = None

    @property
    def authority(self) -> str:
        """What goes into the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORT[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: the part that is fit for a log."""
        return f"{self.scheme}://{self.authority}"


def parse_url(url: str) -> Target:
    """Take an http or https URL apart; raises `UrlRefused` naming the first thing that is wrong.

    The host comes back in lower case, in punycode, without its trailing dot. Refused are user-info,
    fragments, IPv4 addresses in any spelling but four plain decimal numbers, zone ids, escapes in the host,
    and every character that does not belong into a URL.
    """
    if not url or len(url) > MAX_URL:
        raise UrlRefused(f"the URL must have 1 to {MAX_URL} characters")
    shape = _SHAPE.fullmatch(url)
    if shape is None:
        raise UrlRefused("the URL must be http://… or https://… without spaces or control characters")
    scheme, authority, path, query, fragment = shape.groups()
    if fragment is not None:
        raise UrlRefused("the URL must not have a fragment (#…): it is never sent")
    if "@" in authority:
        raise UrlRefused("the URL must not hold a user name or password; send a header instead")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UrlRefused("the URL has no valid host and port")
    target = (path or "/") + (query or "")
    if not _TARGET.fullmatch(target):
        raise UrlRefused("the URL's path and query must be percent-encoded ASCII")
    scheme = scheme.lower()
    port = int(parts[2]) if parts[2] else _DEFAULT_PORT[scheme]
    if not 0 < port < 65536:
        raise UrlRefused("the URL's port must lie between 1 and 65535")
    host, literal = _host(parts[1])
    return Target(scheme, host, port, target, literal)


def _host(text: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    if text.startswith("["):
        try:
            v6 = IPv6Address(text[1:-1])
        except ValueError:
            raise UrlRefused("the URL's IPv6 address is not valid") from None
        return str(v6), v6
    host = _ascii(text.lower().removesuffix("."))
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the URL's host is not a valid name")
    if _NUMBER.fullmatch(labels[-1]):  # resolvers read such names as numbers: 0x7f.1, 2130706433, 0177.0.0.1
        try:
            v4 = IPv4Address(host)
        except ValueError:
            raise UrlRefused("an IPv4 address must be four decimal numbers without leading zeros") from None
        return host, v4
    return host, None


def _ascii(host: str) -> str:
    """Return the host in punycode; what it spells must be a valid internationalised name."""
    try:
        if not host.isascii():
            return idna.encode(host, strict=True, std3_rules=True).decode("ascii")
        if "xn--" in host:
            idna.decode(host, strict=True, std3_rules=True)
    except (idna.IDNAError, UnicodeError):
        raise UrlRefused("the URL's host is not a valid internationalised name") from None
    return host
