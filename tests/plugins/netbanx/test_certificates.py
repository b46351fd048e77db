"""Fetching a provider's certificate: over real HTTP, once, bounded, and patient with what fails."""

from __future__ import annotations

from contextlib import asynccontextmanager

import structlog
import trio
import trio.testing

from wharfd import NetworkPolicy, OutboundClient
from wharfd.testing import answers
from wharfd_netbanx.acceptance.certificates import Certificates
from wharfd_netbanx.schemes.paypal import MAX_CERTIFICATE_BYTES


@asynccontextmanager
async def fetching(receiver):
    certificates = Certificates()
    async with (
        OutboundClient(NetworkPolicy(allow_networks=("127.0.0.0/8",))) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(certificates.fetch_wanted, client, structlog.get_logger())
        yield certificates
        nursery.cancel_scope.cancel()


async def until_found(certificates, url):
    with trio.fail_after(60):
        while (found := certificates.find(url)) is None:
            await trio.testing.wait_all_tasks_blocked(0.01)
    return found


async def test_a_certificate_is_fetched_once_and_found_from_then_on(receiver):
    receiver.script(answers.status(200, b"-----BEGIN CERTIFICATE-----"))
    async with fetching(receiver) as certificates:
        url = f"{receiver.url}/cert.pem"
        assert certificates.find(url) is None  # the delivery is answered 503 and comes again
        assert await until_found(certificates, url) == b"-----BEGIN CERTIFICATE-----"
        for _ in range(10):
            certificates.find(url)
        assert len(receiver.requests) == 1


async def test_what_is_no_certificate_is_not_kept_and_not_asked_for_again_at_once(receiver):
    receiver.script(answers.status(404))
    async with fetching(receiver) as certificates:
        url = f"{receiver.url}/gone.pem"
        certificates.find(url)
        with trio.fail_after(60):
            while not receiver.requests or certificates._wanted:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert certificates.find(url) is None
        assert not certificates._wanted
        assert len(receiver.requests) == 1


async def test_one_that_is_too_large_is_refused(receiver):
    receiver.script(answers.status(200, b"x" * (MAX_CERTIFICATE_BYTES + 1)))
    async with fetching(receiver) as certificates:
        url = f"{receiver.url}/large.pem"
        certificates.find(url)
        with trio.fail_after(60):
            while not receiver.requests or certificates._wanted:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert certificates.find(url) is None


async def test_a_flood_of_addresses_is_bounded():
    certificates = Certificates()
    for number in range(1000):
        assert certificates.find(f"https://api.paypal.com/{number}") is None
    assert len(certificates._wanted) <= 8
