"""URL tricks: what is no plain http(s) URL is refused, and what is accepted means one thing only."""

import socket
from ipaddress import IPv4Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wharfd.errors import AddressRefused, HeaderRefused, UrlRefused
from wharfd.http.outbound import FRAMING_HEADERS, NetworkPolicy, check_header, parse_url

TRICKS = [
    "", "http:", "http://", "https:///x", "//shop.example/", "shop.example", "ftp://shop.example/",
    "file:///etc/passwd",
    "gopher://shop.example/", "javascript:alert(1)", " http://shop.example", "http://shop.example ",
    "http://shop.example/a b",
    "http://shop.example/\r\nHost: x", "http://shop.example\n", "http://shop.example/\x00", "http://sho\tp.example/",
    "http://user@shop.example/", "http://user:secret@shop.example/", "http://shop.example@evil.example/",
    "http://shop.example:80@evil.example/", "http://shop.example#@evil.example/", "http://shop.example/#part",
    "http://shop.example\\@evil.example/", "http:\\\\shop.example\\", "http://shop.example:/", "http://shop.example:0/",
    "http://shop.example:65536/", "http://shop.example:8o/", "http://shop.example:-1/", "http://shop.example:80:80/",
    "http://[::1", "http://::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/",
    "http://[1.2.3.4]/",
    "http://127.1/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://2130706433/",
    "http://127.0.0.1.5/",
    "http://1.2.3.256/", "http://0/", "http://127.0.0.0x1/", "http://１２７.0.0.1/", "http://127。0。0。1/",
    "http://%31%32%37.0.0.1/",
    "http://a..example/", "http://.example/", "http://shop.example../", "http://-shop.example/", "http://shop-.example/",
    "http://" + "a" * 64 + ".example/", "http://" + "a." * 130 + "example/", "http://xn--a/", "http://xn--0.example/",
    "http://ex​ample.com/", "http://exa mple.com/", "http://shop.example/ü", "http://shop.example/%zz",
    "http://shop.example/?a=%",
    "http://shop.example/\"", "http://shop.example/<x>", "http://shop.example/" + "a" * 5000, "http://ⓔxample.com/",
]  # fmt: skip


@pytest.mark.parametrize("url", TRICKS)
def test_tricks_are_refused(url):
    with pytest.raises(UrlRefused) as caught:
        parse_url(url)
    assert caught.value.kind == "bad_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://shop.example", "shop.example", "/"),
        ("HTTPS://Shop.Example:443/a%20b?c=d&e", "shop.example", "/a%20b?c=d&e"),
        ("http://shop.example.:8080?x", "shop.example:8080", "/?x"),
        ("https://bücher.example/", "xn--bcher-kva.example", "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("http://my_service:3000/", "my_service:3000", "/"),
        ("http://[2606:4700:0:0::1111]:8080/", "[2606:4700::1111]:8080", "/"),
        ("http://1.1.1.1./", "1.1.1.1", "/"),
        ("http://shop.example/@user/a:b", "shop.example", "/@user/a:b"),
    ],
)
def test_plain_urls_are_read(url, authority, path):
    target = parse_url(url)
    assert (target.authority, target.path) == (authority, path)
    assert parse_url(target.origin + target.path) == target


@given(st.text(max_size=80) | st.from_regex(r"https?://[ -~]{1,60}", fullmatch=True))
def test_what_is_accepted_reads_back_the_same(url):
    try:
        target = parse_url(url)
    except UrlRefused:
        return
    again = target.origin + target.path
    assert again.isascii()
    assert not set(again) & set(" \r\n\t\x00\\#")
    assert parse_url(again) == target


numbers = st.integers(0, 2**32 - 1)
parts = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "00{}"])


@given(numbers, st.integers(1, 4), st.lists(parts, min_size=4, max_size=4))
def test_numeric_hosts_mean_what_the_resolver_means(number, count, spellings):
    # Every spelling that inet_aton reads as an address is refused unless it is the plain one.
    octets = list(number.to_bytes(4))
    tail = int.from_bytes(bytes(octets[count - 1 :]))
    host = ".".join(
        spelling.format(n) for spelling, n in zip(spellings, [*octets[: count - 1], tail], strict=False)
    )
    try:
        resolved = IPv4Address(socket.inet_aton(host))
    except OSError:
        assume(False)
    try:
        target = parse_url(f"http://{host}/")
    except UrlRefused:
        return
    assert target.literal == resolved
    assert target.host == str(resolved)


def test_literal_addresses_are_vetted_without_dns():
    for url in (
        "http://127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://169.254.169.254/",
    ):
        with pytest.raises(AddressRefused):
            NetworkPolicy().check_target(parse_url(url))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "b\r\nX-C: d"),
        ("X-A", "b\n"),
        ("X-A", "\x00"),
        ("X-A", "ü"),
        ("X-A", " b"),
        ("X-A", "b\t"),
        ("X A", "b"),
    ]
    + [("X-A:", "b"), ("", "b"), ("X\r\nY", "b"), ("X-Ü", "b"), ("X-A", "x" * 9000)],
)
def test_header_injection_is_refused(name, value):
    with pytest.raises(HeaderRefused) as caught:
        check_header(name, value)
    assert value == "" or len(value) < 3 or value not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FRAMING_HEADERS))
def test_framing_headers_are_ours(name):
    with pytest.raises(HeaderRefused, match="wharfd itself"):
        check_header(name.title(), "1")


@given(st.text(max_size=20), st.text(max_size=60))
def test_headers_that_pass_keep_one_line(name, value):
    try:
        check_header(name, value)
    except HeaderRefused:
        return
    assert f"{name}: {value}".isprintable() or "\t" in value
    assert f"{name}: {value}".isascii()


def test_ordinary_headers_pass():
    for name, value in (
        ("webhook-id", "msg_1"),
        ("X-Empty", ""),
        ("Authorization", "Bearer a.b-c_d"),
        ("X-Tab", "a\tb"),
    ):
        check_header(name, value)
