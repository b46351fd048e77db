"""The questions a minter asks a chain, in its own words. Numbers are numbers here; hex stays below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import trio

from ..model.calls import TRANSFER_TOPIC, Interface, address_in, minted_in, refusal_in, topic_of
from ..model.decisions import Receipt, Token
from ..model.failures import Failure, RpcError, classify, revert_bytes
from ..model.fees import Market
from .endpoints import Endpoints, RpcAway

_HEAD_SECONDS = 1.0  # how long the height and the fees of the chain are good for
_LATEST = "latest"


class Refusal(Exception):
    """The contract refuses the call; `failure` says whether because it is minted already."""

    def __init__(self, failure: Failure, message: str) -> None:
        self.failure = failure
        super().__init__(message)


@dataclass(frozen=True)
class Made:
    """The transaction that made a token, as the logs tell."""

    tx_hash: str
    block: int
    wallet: str
    token: int


class Chain:
    """One contract on one chain."""

    def __init__(
        self,
        endpoints: Endpoints,
        contract: str,
        interface: Interface,
        *,
        confirmations: int,
        finalized: bool,
        from_block: int = 0,
        log_range: int = 2000,
        legacy: bool = False,
    ) -> None:
        self.endpoints = endpoints
        self.contract = contract
        self.interface = interface
        self._confirmations = confirmations
        self._finalized = finalized
        self._from_block = from_block
        self._log_range = log_range
        self._legacy = legacy
        self._kept: dict[str, tuple[float, Any]] = {}

    async def _fresh(self, name: str, ask: Any) -> Any:
        """Ask at most once a second, however many mints are under way."""
        at, value = self._kept.get(name, (-1e9, None))
        if trio.current_time() - at > _HEAD_SECONDS:
            asked = trio.current_time()
            value = await ask()
            self._kept[name] = (asked, value)
        return value

    def forget(self) -> None:
        """Ask anew for what is kept for a second."""
        self._kept.clear()

    async def final_block(self, *, at_least: int | None = None) -> int:
        """Return the last block that counts as final. What is kept is good when it reaches `at_least`."""
        _, kept = self._kept.get("final", (0.0, -1))
        if at_least is not None and kept < at_least:
            self._kept.pop("final", None)
        return int(await self._fresh("final", self._ask_final))

    async def _ask_final(self) -> int:
        if self._finalized:
            block = await self.endpoints.call("eth_getBlockByNumber", "finalized", False)
            return int(block["number"], 16) if block else -1
        head = int(await self.endpoints.call("eth_blockNumber"), 16)
        return head - self._confirmations + 1

    async def nonce(self, address: str, *, final: bool = False) -> int:
        """Return how many transactions of the account are in the chain, or in its final part.

        The final part decides whether a nonce is given up, so every endpoint is asked and the least believed.
        """
        if not final:
            return int(await self.endpoints.call("eth_getTransactionCount", address, _LATEST), 16)
        block = "finalized" if self._finalized else hex(max(await self.final_block(), 0))
        told = await self.endpoints.everywhere("eth_getTransactionCount", address, block)
        return min(int(count, 16) for count in told)

    async def balance(self, address: str) -> int:
        """Return the balance in wei."""
        return int(await self.endpoints.call("eth_getBalance", address, _LATEST), 16)

    async def market(self) -> Market:
        """Return what the chain asks for at the moment."""
        market: Market = await self._fresh("market", self._ask_market)
        return market

    async def _ask_market(self) -> Market:
        if self._legacy:
            return Market(0, int(await self.endpoints.call("eth_gasPrice"), 16))
        block = await self.endpoints.call("eth_getBlockByNumber", _LATEST, False)
        try:
            tip = int(await self.endpoints.call("eth_maxPriorityFeePerGas"), 16)
        except RpcError:
            tip = 0  # not every node has the method; the least tip of the settings stands in
        return Market(int(block.get("baseFeePerGas", "0x0"), 16), tip)

    async def receipt(self, tx_hash: str, wallet: str, *, everywhere: bool = False) -> Receipt | None:
        """Return where a transaction was mined; `everywhere` believes whichever endpoint has seen it."""
        if everywhere:
            answers = await self.endpoints.everywhere("eth_getTransactionReceipt", tx_hash)
            found = next((one for one in answers if one), None)
        else:
            found = await self.endpoints.call("eth_getTransactionReceipt", tx_hash)
        if not found or found.get("blockNumber") is None:
            return None
        return Receipt(
            ok=int(found.get("status") or "0x1", 16) == 1,
            block=int(found["blockNumber"], 16),
            block_hash=str(found.get("blockHash", "")),
            gas_used=int(found.get("gasUsed") or "0x0", 16),
            gas_price=int(found.get("effectiveGasPrice") or "0x0", 16),
            token_id=minted_in(found.get("logs", ()), self.contract, wallet),
        )

    async def token(self, license_id: str, wallet: str, tier: str) -> Token | Literal[False]:
        """Ask the contract whether the license was minted."""
        lookup = self.interface.lookup
        assert lookup is not None
        data = lookup.call(self.interface.values(license_id, wallet, tier))
        try:
            return self.interface.token_in(await self._call(data), license_id)
        except RpcError as error:
            # ownerOf of a token that is not there reverts.
            if self.interface.answer == "owner" and classify(error) is Failure.REVERTED:
                return False
            raise

    async def _call(self, data: bytes) -> bytes:
        answer = await self.endpoints.call(
            "eth_call", {"to": self.contract, "data": "0x" + data.hex()}, _LATEST
        )
        return bytes.fromhex(str(answer).removeprefix("0x"))

    async def gas_for(self, sender: str, data: bytes, value: int) -> int:
        """Return what the call takes; raises `Refusal` when the contract would refuse it."""
        call = {"from": sender, "to": self.contract, "data": "0x" + data.hex()}
        if value:
            call["value"] = hex(value)
        try:
            return int(await self.endpoints.call("eth_estimateGas", call), 16)
        except RpcError as error:
            failure = classify(error, self.interface.already_minted)
            if failure in (Failure.ALREADY_MINTED, Failure.REVERTED, Failure.NO_FUNDS):
                raise Refusal(failure, self.explain(error)) from error
            raise

    @staticmethod
    def explain(error: RpcError) -> str:
        """Return the contract's own reason where it gave one, else the node's words."""
        data = revert_bytes(error) or b""
        told = refusal_in(data)
        if told is not None:
            return told
        return str(error) if data.hex() in error.message else f"{error}; revert data 0x{data.hex()[:200]}"

    async def send(self, raw: bytes) -> tuple[str, Failure | None, str | None]:
        """Broadcast; returns the endpoint, and the failure with its words if it was not plainly taken.

        Whatever is returned, the transaction may have been taken.
        """
        try:
            _, name = await self.endpoints.call_named("eth_sendRawTransaction", "0x" + raw.hex())
        except RpcError as error:
            failure = classify(error, self.interface.already_minted)
            return "", None if failure is Failure.KNOWN_ALREADY else failure, self.explain(error)
        except RpcAway as error:
            return "", Failure.AWAY, str(error)
        return name, None, None

    async def made(self, token_id: int) -> Made | None:
        """Find the transaction that made a token, from the newest block backwards."""
        last = int(await self.endpoints.call("eth_blockNumber"), 16)
        topics = [TRANSFER_TOPIC, topic_of(0), None, topic_of(token_id)]
        while last >= self._from_block:
            first = max(self._from_block, last - self._log_range + 1)
            query = {
                "address": self.contract,
                "fromBlock": hex(first),
                "toBlock": hex(last),
                "topics": topics,
            }
            found: list[Mapping[str, Any]] = await self.endpoints.call("eth_getLogs", query)
            if found:
                return _made(found[-1])
            last = first - 1
        return None

    async def makings(self, first: int) -> AsyncIterator[tuple[int, list[Made]]]:
        """Yield every token made from a block on, oldest first, with the last block each search covered."""
        head = int(await self.endpoints.call("eth_blockNumber"), 16)
        while first <= head:
            last = min(head, first + self._log_range - 1)
            query = {
                "address": self.contract,
                "fromBlock": hex(first),
                "toBlock": hex(last),
                "topics": [TRANSFER_TOPIC, topic_of(0)],
            }
            found: list[Mapping[str, Any]] = await self.endpoints.call("eth_getLogs", query)
            yield last, [_made(log) for log in found if len(log["topics"]) == 4]
            first = last + 1

    async def call_in(self, tx_hash: str) -> tuple[str, bytes] | None:
        """Return whom a transaction calls and with what; None when it calls nobody."""
        found = await self.endpoints.call("eth_getTransactionByHash", tx_hash)
        if not found or not found.get("to"):
            return None
        return str(found["to"]), bytes.fromhex(str(found.get("input", "")).removeprefix("0x"))


def _made(log: Mapping[str, Any]) -> Made:
    topics = log["topics"]
    return Made(
        log["transactionHash"], int(log["blockNumber"], 16), address_in(topics[2]), int(topics[3], 16)
    )
