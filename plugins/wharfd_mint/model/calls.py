"""How a contract is asked and told: function signatures from the settings, arguments by what they mean.

`eth_abi` does the encoding; it is loaded when first used, since it takes half a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from .decisions import Token
from .keccak import keccak256
from .licenses import license_hash
from .wallets import checksummed

_SIGNATURE = re.compile(r"([A-Za-z_$][\w$]*)\(([a-z0-9\[\],]*)\)")
MEANINGS = ("wallet", "license_hash", "license_id", "token_id", "tier")
_NAMING = ("license_hash", "license_id", "token_id")  # arguments that say whose token it is
_NOBODY = "0x" + "0" * 40
TRANSFER_TOPIC = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()


@dataclass(frozen=True)
class Function:
    """One function of the contract and what its arguments mean."""

    signature: str
    arguments: tuple[str, ...]

    def __post_init__(self) -> None:
        match = _SIGNATURE.fullmatch(self.signature)
        if match is None:
            raise ValueError(f"{self.signature!r} is no signature; write it like mint(address,bytes32)")
        for name in self.arguments:
            if name not in MEANINGS:
                raise ValueError(f"{name!r} is none of {', '.join(MEANINGS)}")
        if len(self.types) != len(self.arguments):
            raise ValueError(f"{self.signature} takes {len(self.types)} arguments, not {len(self.arguments)}")

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the arguments."""
        inside = self.signature[self.signature.index("(") + 1 : -1]
        return tuple(inside.split(",")) if inside else ()

    def call(self, values: Mapping[str, Any]) -> bytes:
        """Return the bytes that call it."""
        return encoded(self.signature, self.types, [values[name] for name in self.arguments])

    def names(self, data: bytes, values: Mapping[str, Any]) -> bool | None:
        """Say whether a call names the license of these values; None when it does not tell."""
        from eth_abi.abi import decode
        from eth_abi.exceptions import DecodingError

        telling = [place for place, name in enumerate(self.arguments) if name in _NAMING]
        if not telling or data[:4] != selector(self.signature):
            return None
        try:
            told = decode(list(self.types), data[4:])
        except DecodingError:
            return None
        return all(told[place] == values[self.arguments[place]] for place in telling)


def encoded(signature: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return the selector and the encoded arguments."""
    from eth_abi.abi import encode

    return selector(signature) + bytes(encode(list(types), list(values)))


# What contracts say when they refuse a mint: ours, and those made with OpenZeppelin's parts.
_REFUSALS = (
    "NotMinter()",
    "NotOwner()",
    "Paused()",
    "ZeroAddress()",
    "EnforcedPause()",
    "OwnableUnauthorizedAccount(address)",
    "AccessControlUnauthorizedAccount(address,bytes32)",
    "ERC721InvalidReceiver(address)",
    "ERC721InvalidSender(address)",
)


@cache
def _refusals() -> dict[bytes, str]:
    return {selector(signature): signature for signature in _REFUSALS}


def refusal_in(data: bytes) -> str | None:
    """Return the error a contract reverted with, where it is a known one."""
    return _refusals().get(data[:4])


@cache
def selector(signature: str) -> bytes:
    """Return the four bytes that name a function or an error."""
    return keccak256(signature.encode())[:4]


@dataclass(frozen=True)
class Interface:
    """What the contract can do. `answer` is what `lookup` returns: a token id, an owner, or nothing.

    Without a look-up the contract's logs are read ("logs"), or nobody is asked ("none").
    """

    mint: Function
    lookup: Function | None
    answer: Literal["token", "owner", "logs", "none"]
    already_minted: bytes

    @staticmethod
    def values(license_id: str, wallet: str, tier: str) -> dict[str, Any]:
        """Return the values that arguments can take."""
        digest = license_hash(license_id)
        return {
            "wallet": wallet,
            "license_hash": digest,
            "license_id": license_id,
            "token_id": int.from_bytes(digest),
            "tier": tier,
        }

    def token_in(self, answer: bytes, license_id: str) -> Token | Literal[False]:
        """Read what the look-up answered."""
        if len(answer) < 32:
            raise ValueError(
                f"the contract answered {len(answer)} bytes where 32 were expected; is it the contract, "
                "and does it have the look-up function that is configured?"
            )
        word = answer[:32]
        if self.answer == "token":
            number = int.from_bytes(word)
            return Token(number) if number else False
        holder = "0x" + word[12:].hex()
        if holder == _NOBODY:
            return False
        return Token(int.from_bytes(license_hash(license_id)), checksummed(holder))


def topic_of(number: int) -> str:
    """Write a number as a topic of a log."""
    return "0x" + number.to_bytes(32).hex()


def address_in(topic: str) -> str:
    """Read an address out of a topic."""
    return checksummed("0x" + topic[-40:])


def minted_in(logs: Sequence[Mapping[str, Any]], contract: str, wallet: str) -> int | None:
    """Return the token that these logs say was made for the wallet by the contract, if any."""
    for log in logs:
        topics = log.get("topics", ())
        if (
            str(log.get("address", "")).lower() == contract.lower()
            and len(topics) == 4
            and topics[0] == TRANSFER_TOPIC
            and int(topics[1], 16) == 0
            and topics[2][-40:].lower() == wallet[2:].lower()
        ):
            return int(topics[3], 16)
    return None
