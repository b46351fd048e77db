"""What a key may do, and what its maker may give away.

A scope is `area:verb`, `area:*` for all of an area, or `*`. Nobody gives away more than they hold: not more
scopes, not a longer life, not more addresses, not a higher rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from wharfd.contracts.access import Identity

Network = IPv4Network | IPv6Network

MOST_SCOPES = 64
MOST_NETWORKS = 64
_LONGEST_SCOPE = 64
_SCOPE = re.compile(r"[a-z_]+:(?:[a-z_]+|\*)|\*")


def parse_scopes(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes without doubles, sorted; raises ValueError naming the one that is wrong."""
    found = sorted(set(texts))
    if len(found) > MOST_SCOPES:
        raise ValueError(f"{len(found)} scopes are more than the {MOST_SCOPES} a key can have")
    for text in found:
        if len(text) > _LONGEST_SCOPE or not _SCOPE.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not a scope; write area:verb, area:* or *")
    return tuple(found)


def beyond(maker: Identity, scopes: Iterable[str]) -> list[str]:
    """Return those of the scopes that the maker does not hold and so cannot give."""
    return [scope for scope in scopes if not maker.may(scope)]


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return addresses and CIDR ranges as networks; raises ValueError naming the one that is wrong."""
    found: list[Network] = []
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError:
            raise ValueError(f'{text[:60]!r} is no network; write it like "203.0.113.0/24"') from None
        if network not in found:
            found.append(_unmapped(network))
    if len(found) > MOST_NETWORKS:
        raise ValueError(f"{len(found)} networks are more than the {MOST_NETWORKS} a key can have")
    return tuple(found)


def admits(allowed: Sequence[Network], client: IPv4Address | IPv6Address | None) -> bool:
    """Whether a caller may come from there. An empty list admits everybody, an unknown address nobody."""
    if not allowed:
        return True
    return client is not None and any(
        client in network for network in allowed if network.version == client.version
    )


def outside(inner: Sequence[Network], outer: Sequence[Network]) -> list[Network]:
    """Return those of `inner` that are not wholly within `outer`; an empty `outer` holds everything."""
    if not outer:
        return []
    return [one for one in inner if not any(_within(one, other) for other in outer)]


def _within(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)


def _unmapped(network: Network) -> Network:
    """An IPv4 network written as ::ffff:a.b.c.d/n: callers are seen by their IPv4 address."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
