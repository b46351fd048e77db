"""What the operator lets outbound requests reach: `NetworkPolicy`. Pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ...errors import AddressRefused, UrlRefused
from .addresses import METADATA, Address, Network, blocked, embedded_v4, unreachable
from .urls import Target

# Services that are not web servers but may read a request line as a command of theirs.
_SERVICE_PORTS = frozenset(
    [1080, 1433, 1434, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 3659]
    + [4045, 4190, 5060, 5061, 5432, 5433, 5672, 5900, 5984, 6000, 6379, 6380, 6432, 6566, 6665, 6666, 6667]
    + [6668, 6669, 6697, 9042, 9092, 10080, 10250, 10255, 11211, 26379, 27017]
)


@dataclass(frozen=True)
class NetworkPolicy:
    """Which hosts, ports and schemes may be reached. The default is the public internet on web ports.

    `allow_networks` opens networks that are refused by default (`"10.0.0.0/8"`); `deny_networks` closes
    some on top and wins. Cloud metadata addresses need an entry of their own (`"169.254.169.254/32"`);
    multicast, broadcast and the unspecified address stay closed. An IPv6 address that leads to an IPv4
    one (NAT64, 6to4, Teredo, v4-mapped …) is only opened when both are.
    `ports` None means 80, 443 and every port from 1024 up that is not known for another service.
    """

    allow_networks: tuple[str, ...] = ()
    deny_networks: tuple[str, ...] = ()
    ports: frozenset[int] | None = None
    https_only: bool = False
    _allow: tuple[Network, ...] = field(init=False, repr=False, compare=False)
    _deny: tuple[Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_networks", tuple(self.allow_networks))
        object.__setattr__(self, "deny_networks", tuple(self.deny_networks))
        object.__setattr__(self, "_allow", tuple(ip_network(text) for text in self.allow_networks))
        object.__setattr__(self, "_deny", tuple(ip_network(text) for text in self.deny_networks))

    def refusal(self, address: Address) -> str | None:
        """Say why an address is refused, or None when a connection to it may be made."""
        if any(address in network for network in self._deny if network.version == address.version):
            return "closed by deny_networks"
        if unreachable(address):
            return blocked(address) or "reserved"
        reason = blocked(address)
        if reason is None:
            return None
        narrow = address.max_prefixlen if address in METADATA else 0
        opened = any(
            address in network and network.prefixlen >= narrow
            for network in self._allow
            if network.version == address.version
        )
        if not opened:
            return reason
        return next((why for inner in embedded_v4(address) if (why := self.refusal(inner))), None)

    def check_addresses(self, host: str, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return the addresses when every one of them is fit; raises `AddressRefused` when one is not.

        One bad address refuses the host: dropping it would let a mixed answer probe what is filtered.
        """
        for text in addresses:
            try:
                reason = "it has a zone" if "%" in text else self.refusal(ip_address(text))
            except ValueError:
                reason = "not an IP address"
            if reason is not None:
                raise AddressRefused(f"{host} has the address {text}, which is refused: {reason}")
        return tuple(addresses)

    def check_target(self, target: Target) -> None:
        """Raise `UrlRefused` or `AddressRefused` when scheme, port or a literal address are not allowed."""
        if self.https_only and target.scheme != "https":
            raise UrlRefused("the URL must begin with https://")
        if not self._port_allowed(target.port):
            raise UrlRefused(f"port {target.port} is not one that requests may be sent to")
        if target.literal is not None:
            self.check_addresses(target.host, [str(target.literal)])

    def _port_allowed(self, port: int) -> bool:
        if self.ports is not None:
            return port in self.ports
        return port in (80, 443) or (port >= 1024 and port not in _SERVICE_PORTS)
