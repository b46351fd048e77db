"""NFTs that paid buyers get: the event that says one arrived, and what a minter has to promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .events import Event

if TYPE_CHECKING:
    from ..db import Transaction

Record = Callable[["Transaction"], Awaitable[None]]


class NftDelivered(Event, frozen=True, kw_only=True):
    """A buyer's NFT is on the chain for good. Published once per license."""

    type: ClassVar[str] = "nft.delivered"

    buyer_id: str
    license_id: str
    wallet: str
    tier: str
    tx_hash: str | None
    token_id: str | None
    chain_id: int | None
    delivered_at: datetime


@dataclass(frozen=True)
class MintRequest:
    """One license that is to be minted once.

    `id` is the idempotency key. `wanted` turns False when the buyer was refunded: then the minter takes back
    what can be taken back. `delivered` says that the token is there and only loose ends are left. `fence(tx)`
    raises `LeaseLost` when somebody else works on this mint by now; call it first in every transaction that
    writes. `still_wanted(tx)` asks again, and keeps the answer true until the transaction ends.
    """

    id: str
    license_id: str
    wallet: str
    tier: str
    wanted: bool
    delivered: bool
    fence: Record
    still_wanted: Callable[[Transaction], Awaitable[bool]]


@dataclass(frozen=True)
class Minted:
    """The token exists and stays. `record` is run in the transaction that says so.

    With `loose_ends` the minter is called again after the delivery, with `delivered` set.
    """

    tx_hash: str | None
    token_id: str | None = None
    chain_id: int | None = None
    block: int | None = None
    record: Record | None = None
    loose_ends: bool = False


@dataclass(frozen=True)
class Pending:
    """Not yet; ask again after `seconds`. `trouble` is what a person should know meanwhile."""

    seconds: float
    stage: str
    trouble: str | None = None


@dataclass(frozen=True)
class NeedsPerson:
    """It does not go on by itself; the reason says what to look at. Nothing is under way any more."""

    reason: str


@dataclass(frozen=True)
class Withdrawn:
    """There will be no token, and nothing is under way any more."""


@dataclass(frozen=True)
class Settled:
    """The loose ends after a delivery are tied up."""


Progress = Minted | Pending | NeedsPerson | Withdrawn | Settled


@dataclass(frozen=True)
class Verified:
    """What the chain says of a delivered token. `seen` None: it could not be asked.

    False with a `record` has the mint done again, without one it is held for a person. `token_id` is for
    mints that another system did, whose token nobody knew.
    """

    seen: bool | None
    final: bool = False
    detail: str = ""
    token_id: str | None = None
    record: Record | None = field(default=None, compare=False)


class Minter(Protocol):
    """Mints tokens. Offered to the mint plugin by the hook `register_minters`.

    A minter may be called again at any point, by another daemon, after any crash: everything it needs to go
    on must be in the database or on the other side before it acts.
    """

    async def advance(self, request: MintRequest) -> Progress:
        """Take the mint as far as it goes without waiting long."""
        ...

    async def verify(self, request: MintRequest, tx_hash: str | None) -> Verified:
        """Look whether a delivered token is (still) there."""
        ...

    async def examine(self) -> list[dict[str, Any]]:
        """Look at what minting depends on: dicts of `check`, `state` (ok, warn, fail) and `detail`."""
        ...
