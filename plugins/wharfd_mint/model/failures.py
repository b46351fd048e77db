"""What an error of a node means: its exact words, sorted into classes that each have one answer.

The words are those of geth, anvil, hardhat, ganache, Besu and Nethermind. An error never proves that a
transaction was not taken: some nodes answer an error and mine it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Failure(Enum):
    """What kind of error it was; the value is what is done about it."""

    KNOWN_ALREADY = "the node has it: poll"
    NONCE_USED = "look for our own hashes, else wait until it is final who used it"
    NONCE_TOO_HIGH = "wait for the transactions before it, or fill the gap"
    UNDERPRICED = "replace it with a higher offer"
    NO_FUNDS = "pause the signer and tell somebody"
    ALREADY_MINTED = "adopt what is there"
    REVERTED = "the contract refuses: a person has to look"
    GAS_TOO_LOW = "sign again with more gas"
    MALFORMED = "the transaction is wrong in itself: a person has to look"
    BUSY = "the node takes no more at the moment: wait"
    AWAY = "the node is away or limits us: ask another one, the outcome is unknown"


_REVERT = re.compile(r"revert|invalid opcode|out of gas")

# In this order; the first that is found in the lower-cased message decides.
_WORDS: tuple[tuple[Failure, tuple[str, ...]], ...] = (
    (
        Failure.UNDERPRICED,
        (
            "replacement transaction underpriced",
            "transaction underpriced",
            "max fee per gas less than block base fee",
            "is too low for the next block",
            "future transaction tries to replace pending",
            "fee too low",
            "gas price too low",
            "tip too low",
        ),
    ),
    (
        Failure.KNOWN_ALREADY,
        (
            "already known",
            "known transaction",
            "already imported",
            "same hash was already imported",
            "alreadyknown",
        ),
    ),
    (
        Failure.NONCE_TOO_HIGH,
        (
            "nonce too high",
            "nonce too far in the future",
            "exceeds next nonce",
            "nonce out of range",
            "tx-nonce-too-high",
        ),
    ),
    (
        Failure.NONCE_USED,
        ("nonce too low", "nonce is too low", "doesn't have the correct nonce", "oldnonce", "invalid nonce"),
    ),
    (Failure.NO_FUNDS, ("insufficient funds", "doesn't have enough funds", "insufficient balance")),
    (
        Failure.GAS_TOO_LOW,
        ("intrinsic gas too low", "requires at least", "out of gas", "gas required exceeds allowance"),
    ),
    (
        Failure.MALFORMED,
        (
            "exceeds block gas limit",
            "max priority fee per gas higher than max fee per gas",
            "sender not an eoa",
            "invalid sender",
            "invalid signature",
            "transaction type not supported",
            "rlp:",
            "oversized data",
        ),
    ),
    (
        Failure.BUSY,
        (
            "account limit exceeded",
            "gas limit reached",
            "txpool is full",
            "transaction pool is full",
            "in-flight transaction limit",
        ),
    ),
    (
        Failure.AWAY,
        (
            "rate limit",
            "too many requests",
            "timeout",
            "timed out",
            "temporarily unavailable",
            "service unavailable",
            "header not found",
            "internal error",
            "limit exceeded",
            "request failed",
            "capacity",
        ),
    ),
)
_UNKNOWN_METHOD = frozenset({-32601, -32602, -32700})
_LIMIT_CODES = frozenset({-32005, -32097, -32016, 429})
_REVERT_CODE = 3


@dataclass
class RpcError(Exception):
    """A node answered with a JSON-RPC error."""

    code: int
    message: str
    data: Any = None

    def __str__(self) -> str:
        return f"{self.message[:300]} ({self.code})"


def revert_bytes(error: RpcError) -> bytes | None:
    """Return what the contract reverted with, wherever the node put it; None when it is not there.

    geth and anvil: `data`; hardhat: `data.data`; ganache: `data.result`, or under the transaction's hash.
    """
    found = _hex_in(error.data)
    return None if found is None else bytes.fromhex(found[2:])


def _hex_in(data: Any) -> str | None:
    if isinstance(data, str):
        plain = data.removeprefix("Reverted ").strip()
        return plain if re.fullmatch(r"0x([0-9a-fA-F]{2})*", plain) else None
    if isinstance(data, Mapping):
        for name in ("data", "result", "return"):
            found = _hex_in(data.get(name))
            if found is not None:
                return found
        for value in data.values():
            found = _hex_in(value) if isinstance(value, Mapping) else None
            if found is not None:
                return found
    return None


def classify(error: RpcError, already_minted: bytes = b"") -> Failure:
    """Say what an error means. `already_minted` is the selector of the contract's error for a duplicate."""
    text = error.message.lower()
    reverted = error.code == _REVERT_CODE or "revert" in text
    if already_minted and (reverted or error.data is not None):
        data = revert_bytes(error)
        if (data is not None and data.startswith(already_minted)) or already_minted.hex() in text:
            return Failure.ALREADY_MINTED
    if not reverted:
        for failure, words in _WORDS:
            if any(word in text for word in words):
                return failure
        if error.code in _LIMIT_CODES:
            return Failure.AWAY
        if error.code in _UNKNOWN_METHOD:
            return Failure.MALFORMED
    if reverted or _REVERT.search(text):
        return Failure.REVERTED
    return Failure.AWAY
