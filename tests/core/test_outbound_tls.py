"""TLS: always verified, names kept, bad certificates refused before a byte of the request leaves."""

import ssl

import pytest

from wharfd.http.outbound import (
    ClientCertificate,
    ConnectionLost,
    NetworkPolicy,
    OutboundClient,
    OutboundTimeout,
    TlsFailed,
)
from wharfd.testing.certificates import Authority
from wharfd.testing.receiver import open_receiver

LAN = NetworkPolicy(allow_networks=("127.0.0.0/8", "::1/128"))


@pytest.fixture
async def make_client():
    """Make clients that are closed at the end."""
    made = []

    def make(policy=LAN, **keywords):
        made.append(OutboundClient(policy, **keywords))
        return made[-1]

    yield make
    for client in made:
        client.close()


async def test_a_good_certificate(authority, make_client):
    async with open_receiver(tls=authority.server_context()) as receiver:
        with_extra = make_client(extra_ca=authority.pem)
        answer = await with_extra.request("POST", receiver.url, body=b"x", deadline=5)
        assert (answer.status, answer.timings.tls > 0) == (200, True)
        assert (await with_extra.request("POST", receiver.url, deadline=5)).reused
        per_call = make_client()
        assert (await per_call.request("POST", receiver.url, deadline=5, ca=authority.pem)).status == 200
        assert (
            await per_call.request(
                "POST", f"https://127.0.0.1:{receiver.port}/", deadline=5, ca=authority.pem
            )
        ).status == 200


async def refused(make_client, context, authority, reason, **keywords):
    async with open_receiver(tls=context) as receiver:
        client = make_client(extra_ca=authority.pem)
        with pytest.raises(TlsFailed, match=reason) as caught:
            await client.request("POST", receiver.url, body=b"x", deadline=5, **keywords)
        assert (caught.value.kind, caught.value.request_sent) == ("tls", "none")
        assert not receiver.requests


async def test_wrong_name(authority, make_client):
    await refused(
        make_client,
        authority.server_context(authority.issue("other.example")),
        authority,
        "Hostname mismatch",
    )


async def test_expired(authority, make_client):
    await refused(
        make_client,
        authority.server_context(authority.issue("localhost", expired=True)),
        authority,
        "expired",
    )


async def test_self_signed(authority, make_client):
    pair = authority.issue("localhost", self_signed=True)
    await refused(make_client, authority.server_context(pair), authority, "self-signed")


async def test_a_stranger_signed_it(authority, make_client):
    await refused(make_client, Authority().server_context(), authority, "certificate was not accepted")


async def test_a_name_in_the_subject_alone_is_not_enough(authority, make_client):
    await refused(
        make_client,
        authority.server_context(authority.issue(common_name="localhost")),
        authority,
        "not accepted",
    )


async def test_a_ca_per_call_replaces_the_others(authority, make_client):
    await refused(make_client, authority.server_context(), authority, "not accepted", ca=Authority().pem)


async def test_old_protocols_are_refused(authority, make_client):
    context = authority.server_context()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    await refused(make_client, context, authority, "TLS failed|closed the connection")


async def test_the_name_in_tls_and_host_is_the_urls(authority, make_client):
    names = []
    context = authority.server_context(authority.issue("shop.example"))
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def resolve(host, port):
        return ["127.0.0.1"]

    async with open_receiver(tls=context) as receiver:
        client = make_client(resolver=resolve)
        url = f"https://Shop.Example.:{receiver.port}/"
        assert (await client.request("POST", url, deadline=5, ca=authority.pem)).status == 200
        assert names == ["shop.example"]
        assert receiver.requests[0].header("host") == f"shop.example:{receiver.port}"


async def test_client_certificates(authority, make_client):
    async with open_receiver(tls=authority.server_context(client_needed=True)) as receiver:
        client = make_client(extra_ca=authority.pem)
        with pytest.raises((TlsFailed, ConnectionLost)):
            await client.request("POST", receiver.url, deadline=5)
        pair = authority.issue("sender.example")
        shown = ClientCertificate(pair.certificate, pair.key)
        assert (await client.request("POST", receiver.url, deadline=5, client_cert=shown)).status == 200
        assert "PRIVATE" not in repr(shown)


async def test_a_broken_client_certificate_is_named(authority, make_client):
    client = make_client()
    pair = authority.issue("a.example")
    wrong = ClientCertificate(pair.certificate, authority.issue("b.example").key)
    for bad in (wrong, ClientCertificate("nothing", "nothing")):
        with pytest.raises(TlsFailed, match="client certificate"):
            await client.request("POST", "https://127.0.0.1:8443/", deadline=5, client_cert=bad)
    with pytest.raises(TlsFailed, match="certificate authority"):
        await client.request("POST", "https://127.0.0.1:8443/", deadline=5, ca="nothing")


async def test_plain_http_behind_https(receiver, make_client):
    client = make_client()
    with pytest.raises((TlsFailed, OutboundTimeout)) as caught:
        await client.request("POST", f"https://127.0.0.1:{receiver.port}/", deadline=0.5)
    assert caught.value.request_sent == "none"
