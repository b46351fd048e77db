"""Opens connections: resolve once, vet every address, connect to a vetted one, shake hands."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from itertools import zip_longest

import trio

from ...errors import ConnectFailed, NameNotResolved, OutboundTimeout, TlsFailed
from .answer import Progress
from .link import Link, Wire
from .policy import NetworkPolicy
from .urls import Target

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_TRIED_ADDRESSES = 6
_STAGGER = 0.25  # RFC 8305: head start of one address over the next


class SystemResolver:
    """Asks the system's resolver in threads of its own: a dead DNS server cannot use up everybody's."""

    def __init__(self, threads: int = 16) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host. A look-up that is cancelled ends in its thread, unheard."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._limiter)


class Dialer:
    """Makes `Link`s within its own budgets for DNS and for connecting."""

    def __init__(self, resolver: Resolver, dns_deadline: float) -> None:
        self._resolver = resolver
        self._dns_deadline = dns_deadline

    async def dial(
        self,
        target: Target,
        policy: NetworkPolicy,
        context: ssl.SSLContext | None,
        connect_deadline: float,
        progress: Progress,
    ) -> Link:
        """Connect to one of the target's addresses after all of them were vetted.

        Raises: AddressRefused, NameNotResolved, ConnectFailed, TlsFailed, OutboundTimeout.
        """
        addresses = await self.addresses(target, policy, progress)
        start = trio.current_time()
        progress.phase = "connect"
        with trio.move_on_after(connect_deadline) as scope:
            wire, peer = await _connect_any(addresses, target)
            link = Link(wire, peer)
            progress.peer = peer
            connected = trio.current_time()
            progress.connect = connected - start
            if context is not None:
                progress.phase = "tls"
                try:
                    await _shake_hands(link, context, target)
                except BaseException:
                    link.close()
                    raise
                progress.tls = trio.current_time() - connected
        if scope.cancelled_caught:
            raise OutboundTimeout(
                f"{target.origin} did not finish connecting ({progress.phase}) in {connect_deadline:g} s",
                phase=progress.phase,
            )
        return link

    async def addresses(self, target: Target, policy: NetworkPolicy, progress: Progress) -> tuple[str, ...]:
        """Resolve and vet; every address found is fit to connect to, or `AddressRefused` is raised."""
        if target.literal is not None:
            return policy.check_addresses(target.host, [str(target.literal)])
        progress.phase = "dns"
        start = trio.current_time()
        with trio.move_on_after(self._dns_deadline) as scope:
            try:
                found = await self._resolver(target.host, target.port)
            except OSError as exc:
                raise NameNotResolved(
                    f"{target.host} cannot be resolved: {exc.strerror or exc}", phase="dns"
                ) from exc
        if scope.cancelled_caught:
            raise OutboundTimeout(f"{target.host} was not resolved in {self._dns_deadline:g} s", phase="dns")
        progress.dns = trio.current_time() - start
        if not found:
            raise NameNotResolved(f"{target.host} has no address", phase="dns")
        return policy.check_addresses(target.host, found)


async def _shake_hands(link: Link, context: ssl.SSLContext, target: Target) -> None:
    try:
        await link.start_tls(context, target.host)
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate was not accepted: {cause.verify_message}"
        elif isinstance(cause, ssl.SSLError):
            reason = f"TLS failed: {cause.reason or 'no common ground'}"
        else:
            reason = "it closed the connection during the TLS handshake"
        raise TlsFailed(f"{target.origin}: {reason}", phase="tls") from exc


async def _connect_any(addresses: Sequence[str], target: Target) -> tuple[Wire, tuple[str, int]]:
    """Connect to whichever address answers first, each getting a short head start over the next."""
    ordered = _alternating(addresses)[:_TRIED_ADDRESSES]
    if len(ordered) == 1:
        try:
            return await _connect(ordered[0], target.port)
        except OSError as exc:
            raise _refused(target, [exc]) from exc
    winners: list[tuple[Wire, tuple[str, int]]] = []
    failures: list[OSError] = []

    async def attempt(address: str, failed: trio.Event) -> None:
        try:
            won = await _connect(address, target.port)
        except OSError as exc:
            failures.append(exc)
            failed.set()
            return
        if winners:
            won[0].socket.close()
        else:
            winners.append(won)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in ordered:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(_STAGGER):
                    await failed.wait()
    except BaseException:
        for wire, _ in winners:
            wire.socket.close()
        raise
    if not winners:
        raise _refused(target, failures)
    return winners[0]


def _alternating(addresses: Sequence[str]) -> list[str]:
    """Return IPv6 and IPv4 addresses in turn, so that one broken family costs one head start."""
    families: dict[int, list[str]] = {}
    for address in addresses:
        families.setdefault(ip_address(address).version, []).append(address)
    return [one for pair in zip_longest(*families.values()) for one in pair if one is not None]


async def _connect(address: str, port: int) -> tuple[Wire, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect((address, port))
        return Wire(sock), (address, port)
    except BaseException:
        sock.close()
        raise


def _refused(target: Target, failures: Sequence[OSError]) -> ConnectFailed:
    reasons = dict.fromkeys(failure.strerror or str(failure) for failure in failures)
    return ConnectFailed(f"no connection to {target.origin}: {', '.join(reasons).lower()}", phase="connect")
