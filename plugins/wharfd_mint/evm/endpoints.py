"""JSON-RPC over several endpoints: the preferred one first, a sick one left alone for a while.

An endpoint is asked for its chain id before it is asked for anything else, and again after it was away. One
that serves another chain stops everything: what it says about nonces and receipts would be about other
transactions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import trio

from wharfd import NetworkPolicy, OutboundClient, OutboundError, Secret, WharfdError

from ..model.failures import Failure, RpcError, classify

_FIRST_REST = 1.0
_LONGEST_REST = 60.0
_MOST_BYTES = 4 << 20


class RpcAway(WharfdError):
    """no endpoint of the chain answers at the moment"""


class WrongChain(WharfdError):
    """an endpoint serves another chain than the one that is configured"""


class Transport(Protocol):
    """Sends one JSON-RPC call to one endpoint."""

    name: str

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result; raises `RpcError` for the node's own error, `RpcAway` without an answer."""
        ...


class HttpTransport:
    """JSON-RPC over HTTP. The URL may hold a key and is never shown; the name is its host."""

    def __init__(
        self, http: OutboundClient, url: Secret, policy: NetworkPolicy, timeout: float, number: int
    ) -> None:
        self._http = http
        self._url = url
        self._policy = policy
        self._timeout = timeout
        self._number = 0
        self.name = f"{urlsplit(url.reveal()).hostname}#{number}"

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """See `Transport`."""
        self._number += 1
        body = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": self._number, "method": method, "params": list(params)}
        )
        try:
            answer = await self._http.request(
                "POST",
                self._url.reveal(),
                headers=(("Content-Type", "application/json"),),
                body=body,
                deadline=self._timeout,
                max_response_bytes=_MOST_BYTES,
                policy=self._policy,
            )
        except OutboundError as error:
            raise RpcAway(f"{self.name}: {error}") from error
        try:
            document = msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError:
            raise RpcAway(f"{self.name}: status {answer.status} without JSON") from None
        told = document.get("error")
        if isinstance(told, dict):
            code = told.get("code")
            raise RpcError(
                code if isinstance(code, int) else 0, str(told.get("message", "")), told.get("data")
            )
        if answer.status != 200 or "result" not in document:
            raise RpcAway(f"{self.name}: status {answer.status}")
        return document["result"]


@dataclass
class _Health:
    """What is known of one endpoint."""

    transport: Transport
    chain_checked: bool = False
    failures: int = 0
    rests_until: float = 0.0
    last_error: str = ""


@dataclass(frozen=True)
class EndpointHealth:
    """How an endpoint is doing."""

    name: str
    up: bool
    failures: int
    last_error: str


class Endpoints:
    """All endpoints of one chain."""

    def __init__(
        self,
        transports: Sequence[Transport],
        chain_id: int,
        *,
        observe: Callable[[str, str], None] = lambda method, outcome: None,
        now: Callable[[], float] = trio.current_time,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._all = [_Health(transport) for transport in transports]
        self._chain_id = chain_id
        self._observe = observe
        self._now = now
        self._spread = spread
        self.wrong: str | None = None

    def health(self) -> list[EndpointHealth]:
        """Return how each endpoint is doing."""
        return [
            EndpointHealth(one.transport.name, one.failures == 0, one.failures, one.last_error)
            for one in self._all
        ]

    async def call(self, method: str, *params: Any) -> Any:
        """Ask the endpoints one after the other until one answers.

        Raises `RpcError` for a node's own error, `RpcAway` when none answers, `WrongChain`.
        """
        return (await self.call_named(method, *params))[0]

    async def call_named(self, method: str, *params: Any) -> tuple[Any, str]:
        """Return the result and the name of the endpoint that gave it."""
        reasons = []
        for one in self._in_order():
            try:
                return await self._ask(one, method, params), one.transport.name
            except RpcAway as error:
                reasons.append(str(error))
        raise RpcAway(f"no endpoint answers {method}: {'; '.join(reasons)[:300]}")

    async def everywhere(self, method: str, *params: Any) -> list[Any]:
        """Return what every endpoint that answers says; raises `RpcAway` when none does."""
        answers = []
        for one in self._all:
            try:
                answers.append(await self._ask(one, method, params))
            except (RpcAway, RpcError):
                continue
        if not answers:
            raise RpcAway(f"no endpoint answers {method}")
        return answers

    async def heights(self) -> list[tuple[str, int, str]]:
        """Ask every endpoint for its last block: its name, the block, and what is wrong with it."""
        found = []
        for one in self._all:
            block, wrong = -1, ""
            try:
                block = int(await self._ask(one, "eth_blockNumber", ()), 16)
            except (RpcAway, RpcError, WrongChain) as error:
                wrong = str(error).removeprefix(one.transport.name).lstrip(": ")
            found.append((one.transport.name, block, wrong))
        return found

    def _in_order(self) -> list[_Health]:
        """Those that are well in the order of preference, then those that rest, the first to return first."""
        now = self._now()
        return sorted(self._all, key=lambda one: one.rests_until if one.rests_until > now else 0.0)

    async def _ask(self, one: _Health, method: str, params: Sequence[Any]) -> Any:
        if not one.chain_checked:
            await self._check_chain(one)
        try:
            result = await one.transport.call(method, params)
        except RpcAway as error:
            self._failed(one, error)
            raise
        except RpcError as error:
            if classify(error) is Failure.AWAY:
                away = RpcAway(f"{one.transport.name}: {error}")
                self._failed(one, away)
                raise away from error
            self._observe(method, "refused")
            self._well(one)
            raise
        self._observe(method, "ok")
        self._well(one)
        return result

    async def _check_chain(self, one: _Health) -> None:
        try:
            told = await one.transport.call("eth_chainId", ())
            chain_id = int(told, 16)
        except RpcAway as error:
            self._failed(one, error)
            raise
        except (RpcError, TypeError, ValueError) as error:
            away = RpcAway(f"{one.transport.name}: does not tell its chain: {error}")
            self._failed(one, away)
            raise away from error
        if chain_id != self._chain_id:
            self.wrong = f"{one.transport.name} serves chain {chain_id}, not {self._chain_id}"
            raise WrongChain(f"{self.wrong}; nothing is minted until that is put right")
        one.chain_checked = True
        if self.wrong is not None and self.wrong.startswith(one.transport.name + " "):
            self.wrong = None

    def _failed(self, one: _Health, error: Exception) -> None:
        one.failures += 1
        one.chain_checked = False
        one.last_error = str(error)[:200]
        rest = min(_FIRST_REST * 2 ** (one.failures - 1), _LONGEST_REST)
        one.rests_until = self._now() + rest * self._spread(0.7, 1.3)
        self._observe("any", "away")

    @staticmethod
    def _well(one: _Health) -> None:
        one.failures, one.rests_until, one.last_error = 0, 0.0, ""
