"""The outbound HTTP client: everything wharfd and its plugins send to the outside goes through here."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from types import TracebackType

import trio

from ...errors import AddressRefused, ConnectionLost, OutboundError, OutboundTimeout
from .answer import OutboundResponse, Progress, Timings
from .dialing import Dialer, Resolver, SystemResolver
from .exchange import AnswerReader, exchange
from .headers import Headers, request_head
from .link import Link
from .policy import NetworkPolicy
from .pool import Limits, Pool
from .tls import ClientCertificate, TlsContexts
from .urls import Target, parse_url


@dataclass
class OutboundStatistics:
    """What a client did since it was made, and what it holds now."""

    requests: int = 0
    failures: int = 0
    dialled: int = 0
    reused: int = 0
    refused: int = 0
    resent: int = 0
    destinations: int = 0
    idle: int = 0
    active: int = 0


@dataclass(frozen=True)
class _Call:
    """One request, ready to go."""

    target: Target
    policy: NetworkPolicy
    key: Hashable
    head: bytes
    body: bytes
    headless: bool
    ca: str | None
    client_cert: ClientCertificate | None
    connect_deadline: float
    max_response_bytes: int


class OutboundClient:
    """Sends HTTP/1.1 requests to hosts that its network policy allows, over small pools of connections.

    A host is resolved once per connection, every address is vetted, and the connection goes to a vetted
    address; the Host header and the name in TLS stay the URL's. Redirects are answers, not instructions.
    A request is sent again by itself only when an idle connection turned out to be closed and the
    kernel had taken no byte of the request.
    """

    def __init__(
        self,
        policy: NetworkPolicy | None = None,
        *,
        user_agent: str = "wharfd",
        limits: Limits | None = None,
        extra_ca: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.policy = policy or NetworkPolicy()
        self._limits = limits or Limits()
        self._user_agent = user_agent
        self._contexts = TlsContexts(extra_ca)
        self._dialer = Dialer(resolver or SystemResolver(), self._limits.dns_seconds)
        self._pool = Pool(self._limits)
        self._counted = OutboundStatistics()

    async def __aenter__(self) -> OutboundClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all idle connections; requests under way finish and close theirs."""
        self._pool.close()

    def statistics(self) -> OutboundStatistics:
        """Return a snapshot of the counters."""
        destinations, idle, active = self._pool.counts()
        return OutboundStatistics(
            **{**vars(self._counted), "destinations": destinations, "idle": idle, "active": active}
        )

    def vet_url(self, url: str, *, policy: NetworkPolicy | None = None) -> Target:
        """Check a URL as far as that is possible without DNS; for forms and settings.

        Raises: UrlRefused, AddressRefused.
        """
        target = parse_url(url)
        (policy or self.policy).check_target(target)
        return target

    async def vet_host(self, url: str, *, policy: NetworkPolicy | None = None) -> tuple[str, ...]:
        """Check a URL and every address its host has at the moment; returns the addresses.

        Raises: UrlRefused, AddressRefused, NameNotResolved, OutboundTimeout.
        """
        target = self.vet_url(url, policy=policy)
        return await self._dialer.addresses(target, policy or self.policy, Progress())

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        deadline: float,
        connect_deadline: float = 5.0,
        max_response_bytes: int = 65536,
        policy: NetworkPolicy | None = None,
        client_cert: ClientCertificate | None = None,
        ca: str | None = None,
    ) -> OutboundResponse:
        """Send one request and return the answer, whatever its status.

        Args:
            headers: sent as given, in order; see `check_header` for what is refused.
            deadline: seconds for everything: the wait for a free slot, DNS, connecting, sending, and the
                answer to its last byte.
            connect_deadline: seconds for TCP and TLS together.
            max_response_bytes: what is kept of the body; the rest is not read.
            policy: instead of the client's own.
            ca: PEM; only certificates signed by it are accepted.

        Raises:
            OutboundError: a subclass with `.kind`, and `.request_sent` telling whether a second send can
                be a duplicate ("none": it cannot).

        Cancellation: closes the connection; the other side may have seen the request.
        """
        self._counted.requests += 1
        progress = Progress()
        start = trio.current_time()
        try:
            call = self._prepare(
                method, url, headers, body, policy or self.policy, ca, client_cert, connect_deadline,
                max_response_bytes,
            )  # fmt: skip
            with trio.move_on_after(max(0.0, deadline)):
                reader = await self._perform(call, progress)
                return _response(reader, progress, trio.current_time() - start)
            raise OutboundTimeout(
                f"{call.target.origin} did not answer in {deadline:g} s (waiting for: {progress.phase})",
                request_sent=progress.sent,
                status=progress.status,
                phase=progress.phase,
            )
        except OutboundError as exc:
            self._counted.failures += 1
            self._counted.refused += isinstance(exc, AddressRefused)
            raise

    def _prepare(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes,
        policy: NetworkPolicy,
        ca: str | None,
        client_cert: ClientCertificate | None,
        connect_deadline: float,
        max_response_bytes: int,
    ) -> _Call:
        target = self.vet_url(url, policy=policy)
        return _Call(
            target=target,
            policy=policy,
            key=(target.scheme, target.host, target.port, policy, ca, client_cert),
            head=request_head(method, target, headers, len(body), self._user_agent),
            body=body,
            headless=method == "HEAD",
            ca=ca,
            client_cert=client_cert,
            connect_deadline=connect_deadline,
            max_response_bytes=max_response_bytes,
        )

    async def _perform(self, call: _Call, progress: Progress) -> AnswerReader:
        async with self._pool.slot(call.key):
            link = self._pool.take(call.key)
            if link is not None:
                self._counted.reused += 1
                progress.reused, progress.peer = True, link.peer
                try:
                    return await self._exchange(link, call, progress)
                except ConnectionLost as exc:
                    if exc.request_sent != "none":
                        raise
                    self._counted.resent += 1
                    progress.reused = False
            return await self._exchange(await self._dial(call, progress), call, progress)

    async def _dial(self, call: _Call, progress: Progress) -> Link:
        context = self._contexts.get(call.ca, call.client_cert) if call.target.scheme == "https" else None
        link = await self._dialer.dial(call.target, call.policy, context, call.connect_deadline, progress)
        self._counted.dialled += 1
        return link

    async def _exchange(self, link: Link, call: _Call, progress: Progress) -> AnswerReader:
        try:
            return await exchange(
                link,
                call.head,
                call.body,
                headless=call.headless,
                max_body=call.max_response_bytes,
                max_head=self._limits.max_head_bytes,
                progress=progress,
            )
        finally:
            self._pool.give_back(call.key, link)


def _response(reader: AnswerReader, progress: Progress, total: float) -> OutboundResponse:
    return OutboundResponse(
        status=reader.status,
        headers=tuple(reader.headers),
        body=bytes(reader.body),
        truncated=reader.truncated,
        http_version=reader.version,
        peer=progress.peer,
        timings=Timings(progress.dns, progress.connect, progress.tls, progress.first_byte, total),
        request_sent=progress.sent,
        reused=progress.reused,
    )
