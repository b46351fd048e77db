"""Wallet addresses: what is one, how it is written, and which ones nobody may be sent a token to."""

from __future__ import annotations

import re

from .keccak import keccak256

_WALLET = re.compile(r"0x[0-9a-fA-F]{40}")
# Tokens sent there are gone: the zero address and the ones people burn to.
_DEAD = frozenset(
    {
        "0x0000000000000000000000000000000000000000",
        "0x000000000000000000000000000000000000dead",
        "0xdead000000000000000042069420694206942069",
        "0xffffffffffffffffffffffffffffffffffffffff",
    }
)
_LAST_PRECOMPILE = 0x1FF  # contracts of the chain itself, no person's wallet


class BadWallet(ValueError):
    """The text is not a wallet a token can be sent to; the message says why."""


def checksummed(address: str) -> str:
    """Write an address the EIP-55 way: upper and lower case are its checksum."""
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(m, 16) > 7 else d for d, m in zip(digits, marks, strict=False))


def check_wallet(text: str) -> str:
    """Return the wallet with its checksum; raises `BadWallet`.

    One case throughout is taken as it is; mixed case must be the checksum, since that is how a mistyped
    address is noticed.
    """
    if not _WALLET.fullmatch(text):
        raise BadWallet("must be 0x and 40 hexadecimal digits")
    lower = text.lower()
    if lower in _DEAD or int(lower, 16) <= _LAST_PRECOMPILE:
        raise BadWallet("is an address nobody holds the key of; a token sent there is lost")
    right = checksummed(lower)
    if text[2:] not in (lower[2:], lower[2:].upper()) and text != right:
        raise BadWallet("does not match its checksum: at least one digit is wrong")
    return right
