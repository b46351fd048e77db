"""Which IP addresses the public internet may give us to connect to: an allow-by-exception list.

Only knowledge about addresses lives here; what an operator allows on top is in `policy.py`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# RFC 6890 and successors; the reason is what an operator reads in the refusal.
_BLOCKED_V4 = [
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]

_GLOBAL_UNICAST = IPv6Network("2000::/3")
# First match names the reason. What is outside 2000::/3 and unnamed is refused as "not global".
_BLOCKED_V6 = [
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2001::/23", "protocol assignments"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
]

# Never a web server, whatever is allowed.
_NEVER: list[Network] = [
    IPv4Network("0.0.0.0/8"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("255.255.255.255/32"),
    IPv6Network("::/128"),
    IPv6Network("ff00::/8"),
]

# Cloud metadata and control services: they hand out credentials, so a wide allow-list does not open them.
METADATA: frozenset[Address] = frozenset(
    [
        IPv4Address("169.254.169.254"),  # AWS, GCP, Azure, OpenStack, DigitalOcean, Hetzner
        IPv4Address("169.254.170.2"),  # AWS ECS task credentials
        IPv4Address("169.254.170.23"),  # AWS EKS pod identity
        IPv4Address("169.254.169.123"),  # AWS time
        IPv4Address("169.254.169.253"),  # AWS resolver
        IPv4Address("100.100.100.200"),  # Alibaba
        IPv4Address("168.63.129.16"),  # Azure, a public address
        IPv4Address("192.0.0.192"),  # Oracle
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),  # AWS EKS
        IPv6Address("fd20:ce::254"),  # GCP
    ]
)

_ISATAP = (0x00005EFE, 0x02005EFE)


def embedded_v4(address: Address) -> list[IPv4Address]:
    """Return every IPv4 address a translator or tunnel could reach through this IPv6 address."""
    if isinstance(address, IPv4Address):
        return []
    bits = int(address)
    last = IPv4Address(bits & 0xFFFFFFFF)
    found = []
    if bits >> 32 in (0, 0xFFFF, 0xFFFF0000) or bits >> 32 == 0x0064FF9B << 64:
        found.append(last)
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    if bits >> 80 == 0x0064FF9B0001:  # the operator picks the prefix length: RFC 6052 places, all vetted
        found.append(last)
        found.extend(_rfc6052(bits, length) for length in (48, 56, 64))
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(last)
    return found


def _rfc6052(bits: int, length: int) -> IPv4Address:
    """Read the IPv4 address behind a prefix of this length; byte 8 of such an address is always skipped."""
    octets = bits.to_bytes(16)
    tail = octets[length // 8 : 8] + octets[9:]
    return IPv4Address(tail[:4])


def blocked(address: Address) -> str | None:
    """Say why an address is not a public one, or None when it is."""
    if address in METADATA:
        return "cloud metadata"
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _BLOCKED_V4 if address in network), None)
    reason = next((reason for network, reason in _BLOCKED_V6 if address in network), None)
    if reason is None and address not in _GLOBAL_UNICAST:
        reason = "not global"
    if reason is None and any(blocked(inner) for inner in embedded_v4(address)):
        reason = "a tunnel to an address that is not public"
    return reason


def unreachable(address: Address) -> bool:
    """Say whether an address is one that no allow-list opens (unspecified, multicast, broadcast)."""
    return any(address in network for network in _NEVER if network.version == address.version)
