"""Who is on the other end: the caller's address behind trusted proxies, and whether it came by TLS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from .headers import Headers

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; everybody else's are ignored.

    `networks` are addresses or CIDR ranges; `unix` trusts whoever connects over a Unix socket.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._unix = "unix" in networks
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(network, strict=False) for network in networks if network != "unix"
        ]

    def resolve(self, peer: str | None, scheme: str, headers: Headers) -> tuple[Address | None, bool]:
        """Return the caller's address and whether it spoke TLS, seen through the proxies we trust."""
        address, secure = parse_address(peer), scheme == "https"
        if not self._networks and not self._unix:
            return address, secure
        if not self._trusts(address):
            return address, secure
        if headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https":
            secure = True
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            found = parse_address(hop.strip())
            if found is None:
                break
            address = found
            if not self._trusts(found):
                break
        return address, secure

    def _trusts(self, address: Address | None) -> bool:
        if address is None:
            return self._unix
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def parse_address(text: str | None) -> Address | None:
    """Read an address; an IPv4 address inside IPv6 is taken out, anything else is None."""
    if not text:
        return None
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def neighbourhood(address: Address | None) -> str:
    """What counts as one caller for throttling: an IPv4 address, or the /64 of an IPv6 one."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)
