"""Who really sent it: X-Forwarded-For, Forwarded and the PROXY protocol, believed only from trusted networks.

Which header is believed is a setting, not a guess: a proxy rewrites one of them and passes the other through
as the client wrote it. The PROXY protocol is required from trusted peers when it is on, never detected.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from .refusing import Refused

UNIX_PEER = "unix"

_SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_LINE_1_BYTES = 107  # the longest version 1 header the protocol allows
_PAYLOAD_2_BYTES = 4096  # addresses and extensions; real ones stay below 600
_LINE_1 = re.compile(
    rb"PROXY (?:UNKNOWN[ -~]*|TCP([46]) ([0-9A-Fa-f.:]+) [0-9A-Fa-f.:]+ \d{1,5} \d{1,5})\r\n"
)
_FORWARDED_FOR = re.compile(r'(?i)(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;"\s]*))')


class Trust:
    """The networks whose word about the client is believed, and in which form they give it.

    `networks` are CIDR blocks, addresses, or `unix` for peers on a Unix socket.
    Raises `ValueError` for one that cannot be read.
    """

    def __init__(
        self,
        networks: Sequence[str] = (),
        *,
        header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for",
        proxy_protocol: bool = False,
    ) -> None:
        self._unix = UNIX_PEER in networks
        self._networks = tuple(ip_network(n, strict=False) for n in networks if n != UNIX_PEER)
        self._header = header.encode()
        self.proxy_protocol = proxy_protocol
        self._known = lru_cache(maxsize=4096)(self._look_up)

    def trusts(self, address: str) -> bool:
        """Whether this peer may speak for others."""
        return bool(self._networks or self._unix) and self._known(address)

    def client(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Return the address of the client: the last one named that is not itself a trusted proxy.

        A hop that is unreadable ends the walk: what stands before it is anybody's claim.
        """
        if not self.trusts(peer):
            return peer
        values = [value for name, value in headers if name.lower() == self._header]
        hops = b",".join(values).decode("latin-1").split(",") if values else []
        client = peer
        for hop in reversed(hops):
            if self._header == b"forwarded":
                named = _FORWARDED_FOR.search(hop)
                hop = (named[1] or named[2] or "") if named is not None else ""
            address = _read_address(hop.strip())
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def _look_up(self, address: str) -> bool:
        if address == UNIX_PEER:
            return self._unix
        found = _plain(ip_address(address))
        return any(found in network for network in self._networks)


def counted_as(address: str) -> str:
    """Return what a client is counted under: its IPv4 address, or the /64 of its IPv6 address."""
    if ":" not in address:
        return address
    found = _plain(ip_address(address))
    return str(IPv6Network((int(found), 64), strict=False)) if found.version == 6 else str(found)


def read_proxy_header(data: bytes) -> tuple[str | None, int] | None:
    """Read a PROXY header at the start of `data`; return (client, its length), or None while incomplete.

    The client is None when the proxy speaks for itself (`LOCAL`, `UNKNOWN`).
    Raises `Refused` when this is no PROXY header.
    """
    if data.startswith(_SIGNATURE_2):
        return _read_version_2(data)
    if _SIGNATURE_2.startswith(data):
        return None
    end = data.find(b"\n")
    if end < 0 and len(data) < _LINE_1_BYTES and b"PROXY "[: len(data)] == data[:6]:
        return None
    match = _LINE_1.fullmatch(data[: end + 1]) if end < _LINE_1_BYTES else None
    if match is None:
        raise Refused(400, "a PROXY header is expected from this peer")
    if match[1] is None:
        return None, end + 1
    address = _read_address(match[2].decode())
    if address is None or ("4" if "." in address else "6") != match[1].decode():
        raise Refused(400, "the PROXY header names no proper address")
    return address, end + 1


def _read_version_2(data: bytes) -> tuple[str | None, int] | None:
    if len(data) < 16:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    if version_command not in (0x20, 0x21) or length > _PAYLOAD_2_BYTES:
        raise Refused(400, "the PROXY header is malformed")
    if len(data) < 16 + length:
        return None
    payload = data[16 : 16 + length]
    client: str | None = None
    if version_command == 0x21 and family >> 4 in (1, 2):
        size, needed = (4, 12) if family >> 4 == 1 else (16, 36)
        if length < needed:
            raise Refused(400, "the PROXY header is malformed")
        client = str(_plain(ip_address(payload[:size])))
    return client, 16 + length


def _read_address(text: str) -> str | None:
    """Read `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(_plain(ip_address(text)))
    except ValueError:
        return None


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Take the IPv4 address out of a mapped one: a dual-stack socket reports `::ffff:1.2.3.4`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def peer_address(name: object) -> str:
    """Return the address in what `accept` gave, scope and mapping taken off."""
    if not isinstance(name, tuple):
        return UNIX_PEER
    text: str = name[0]
    if ":" not in text:
        return text
    return str(_plain(ip_address(text.partition("%")[0])))
