"""The minter's key. It leaves this file as signatures and as nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import trio

from wharfd import Secret

from ..ethereum import load_account
from ..model.fees import Fees


@dataclass(frozen=True)
class Draft:
    """A transaction before it is signed."""

    chain_id: int
    nonce: int
    to: str
    data: bytes
    gas: int
    fees: Fees
    value: int = 0
    legacy: bool = False


class Signer(Protocol):
    """Signs for one address. The same draft always gives the same bytes."""

    @property
    def address(self) -> str:
        """The address that pays."""
        ...

    async def sign(self, draft: Draft) -> tuple[bytes, str]:
        """Return the raw transaction and its hash."""
        ...


class KeySigner:
    """Signs with a private key, in a thread: it takes some milliseconds. Make one with `open_signer`."""

    def __init__(self, account: Any) -> None:
        self._account = account
        self.address: str = account.address

    def __repr__(self) -> str:
        return f"<signer {self.address}>"

    async def sign(self, draft: Draft) -> tuple[bytes, str]:
        """See `Signer`."""
        return await trio.to_thread.run_sync(self._sign, draft)

    def _sign(self, draft: Draft) -> tuple[bytes, str]:
        fields: dict[str, Any] = {
            "chainId": draft.chain_id,
            "nonce": draft.nonce,
            "to": draft.to,
            "value": draft.value,
            "gas": draft.gas,
            "data": draft.data,
        }
        if draft.legacy:
            fields["gasPrice"] = draft.fees.max_fee
        else:
            fields |= {
                "type": 2,
                "maxFeePerGas": draft.fees.max_fee,
                "maxPriorityFeePerGas": draft.fees.priority,
            }
        signed = self._account.sign_transaction(fields)
        return bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex()


class BadKey(ValueError):
    """The private key is none."""


async def open_signer(key: Secret) -> KeySigner:
    """Load the signing library (it takes a second, so in a thread) and the key."""

    def load() -> KeySigner:
        account = load_account()
        try:
            return KeySigner(account.from_key(key.reveal()))
        except Exception:  # whatever it says may hold the key
            raise BadKey("plugins.mint.evm.key: is no private key of this curve") from None

    return await trio.to_thread.run_sync(load)
