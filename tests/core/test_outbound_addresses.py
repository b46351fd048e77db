"""No address that is not public gets through, however it is wrapped."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.errors import AddressRefused, UrlRefused
from wharfd.http.outbound import NetworkPolicy, parse_url
from wharfd.http.outbound.addresses import METADATA, blocked, embedded_v4

PUBLIC = NetworkPolicy()
EVERYTHING = NetworkPolicy(allow_networks=("0.0.0.0/0", "::/0"))
BLOCKED_V4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]
BLOCKED_V6 = [
    *("::/128", "::1/128", "::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
    *("2001::/32", "2001:db8::/32", "2001:10::/28", "2001:20::/28", "2002::/16", "3fff::/20", "5f00::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/3", "8000::/1"),
]


def inside(networks):
    def address(network):
        low = int(network.network_address)
        return st.integers(low, int(network.broadcast_address)).map(type(network.network_address))

    return st.sampled_from(networks).flatmap(address)


bad_v4 = inside([IPv4Network(n) for n in BLOCKED_V4])
bad_v6 = inside([IPv6Network(n) for n in BLOCKED_V6])
any_v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
any_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)

EMBEDDINGS = {
    "mapped": lambda v4, rest: IPv6Address(0xFFFF << 32 | v4),
    "compatible": lambda v4, rest: IPv6Address(v4),
    "translated": lambda v4, rest: IPv6Address(0xFFFF << 48 | v4),
    "nat64": lambda v4, rest: IPv6Address(0x64FF9B << 96 | v4),
    "nat64_local": lambda v4, rest: IPv6Address(0x64FF9B0001 << 80 | v4),
    "6to4": lambda v4, rest: IPv6Address(0x2002 << 112 | v4 << 80 | rest),
    "teredo_server": lambda v4, rest: IPv6Address(0x20010000 << 96 | v4 << 64 | rest & (1 << 64) - 1),
    "teredo_client": lambda v4, rest: IPv6Address(0x20010000 << 96 | rest & ~0xFFFFFFFF | v4 ^ 0xFFFFFFFF),
    "isatap": lambda v4, rest: IPv6Address(0x2A00 << 112 | (rest >> 16) << 64 | 0x5EFE << 32 | v4),
}


@given(bad_v4 | bad_v6)
def test_blocked_networks_are_refused(address):
    assert PUBLIC.refusal(address)
    with pytest.raises(AddressRefused, match="refused"):
        PUBLIC.check_addresses("shop.example", ["1.1.1.1", str(address)])


@given(bad_v4, st.sampled_from(sorted(EMBEDDINGS)), st.integers(0, 2**80 - 1))
def test_no_embedding_opens_a_blocked_address(v4, embedding, rest):
    address = EMBEDDINGS[embedding](int(v4), rest)
    assert PUBLIC.refusal(address)


@given(bad_v4, st.sampled_from(sorted(EMBEDDINGS)), st.integers(0, 2**80 - 1))
def test_allowing_all_of_ipv6_opens_no_ipv4(v4, embedding, rest):
    address = EMBEDDINGS[embedding](int(v4), rest)
    if embedding == "isatap" and blocked(address) is None:
        pytest.fail("an ISATAP address leads to a blocked one")
    assert NetworkPolicy(allow_networks=("::/0",)).refusal(address)


@given(any_v4)
def test_only_what_the_standard_library_calls_global_is_open(address):
    # The library knows the same registries; ours may refuse more, never less.
    if PUBLIC.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(any_v6)
def test_open_ipv6_is_global_unicast(address):
    if PUBLIC.refusal(address) is None:
        assert address in IPv6Network("2000::/3")
        assert address.is_global


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "185.60.216.35", "2606:4700::1111", "2a00:1450::200e"]
)
def test_public_addresses_are_open(text):
    assert PUBLIC.check_addresses("shop.example", [text]) == (text,)


@pytest.mark.parametrize("address", sorted(METADATA, key=str), ids=str)
def test_metadata_needs_an_entry_of_its_own(address):
    assert EVERYTHING.refusal(address)
    exact = NetworkPolicy(allow_networks=(f"{address}/{address.max_prefixlen}",))
    assert exact.refusal(address) is None


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255", "::", "ff02::1"]
)
def test_nothing_opens_what_is_no_host(text):
    assert EVERYTHING.refusal(ip_address(text))


def test_allowed_networks_open_and_denied_networks_close():
    policy = NetworkPolicy(allow_networks=("10.0.0.0/8",), deny_networks=("10.9.0.0/16", "1.1.1.0/24"))
    assert policy.refusal(IPv4Address("10.1.2.3")) is None
    assert policy.refusal(IPv4Address("10.9.2.3"))
    assert policy.refusal(IPv4Address("1.1.1.1"))
    assert policy.refusal(IPv4Address("192.168.0.1"))


def test_nat64_opens_for_public_addresses_only():
    policy = NetworkPolicy(allow_networks=("64:ff9b::/96",))
    assert policy.refusal(IPv6Address("64:ff9b::101:101")) is None  # 1.1.1.1
    assert policy.refusal(IPv6Address("64:ff9b::a00:1"))  # 10.0.0.1


def test_local_nat64_prefixes_of_every_length_are_read():
    for length, text in (
        (96, "64:ff9b:1::a00:1"),
        (48, "64:ff9b:1:a00:0:100::"),
        (64, "64:ff9b:1:0:a:0:100:0"),
    ):
        assert IPv4Address("10.0.0.1") in embedded_v4(IPv6Address(text)), length


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fd00:ec2::254%1", "2606:4700::1111%1", "localhost", ""])
def test_what_is_no_plain_address_is_refused(text):
    with pytest.raises(AddressRefused):
        NetworkPolicy(allow_networks=("::/0",)).check_addresses("shop.example", [text])


def test_a_bad_network_in_the_policy_is_an_error():
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        NetworkPolicy(allow_networks=("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("port", "open_by_default"),
    [
        (80, True),
        (443, True),
        (8443, True),
        (3000, True),
        (22, False),
        (25, False),
        (5432, False),
        (6379, False),
        (11211, False),
    ],
)
def test_ports(port, open_by_default):
    target = parse_url(f"https://shop.example:{port}/")
    if open_by_default:
        PUBLIC.check_target(target)
    else:
        with pytest.raises(UrlRefused, match=str(port)):
            PUBLIC.check_target(target)
    NetworkPolicy(ports=frozenset([port])).check_target(target)


def test_https_only():
    with pytest.raises(UrlRefused, match="https"):
        NetworkPolicy(https_only=True).check_target(parse_url("http://shop.example/"))
    NetworkPolicy(https_only=True).check_target(parse_url("https://shop.example/"))


def test_policies_with_the_same_settings_are_equal():
    assert NetworkPolicy(allow_networks=("10.0.0.0/8",)) == NetworkPolicy(allow_networks=("10.0.0.0/8",))
    assert hash(NetworkPolicy(https_only=True)) != hash(NetworkPolicy())
