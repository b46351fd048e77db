"""Whether a license was minted: the contract is asked, or, where it cannot tell, its logs are read.

A contract without a look-up still writes down every token it makes. Those of the buyer's wallet are gone
through: one that a known transaction of another license made is not ours, one whose call names our license
is, and one whose call names another license is not. What is left could be ours: then a person has to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import trio

from wharfd import Database
from wharfd.contracts.mints import MintRequest

from ..model.calls import Interface
from ..model.decisions import Token
from ..store import claims
from .chain import Chain, Made


@dataclass(frozen=True)
class Unclear:
    """There may be a token; only a person can tell."""

    reason: str


class MintLog:
    """Every token the contract made. Final blocks are read once per daemon, later ones each time."""

    def __init__(self, chain: Chain, from_block: int) -> None:
        self._chain = chain
        self._next = from_block
        self._kept: dict[str, list[Made]] = {}
        self._lock = trio.Lock()

    async def made_for(self, wallet: str) -> list[Made]:
        """Return the tokens that were made for this wallet, oldest first."""
        async with self._lock:
            final = await self._chain.final_block()
            later: list[Made] = []
            async for last, made in self._chain.makings(self._next):
                for one in made:
                    if one.block <= final:
                        self._kept.setdefault(one.wallet.lower(), []).append(one)
                    else:
                        later.append(one)
                self._next = max(self._next, min(last, final) + 1)
            mine = wallet.lower()
            return [*self._kept.get(mine, ()), *(one for one in later if one.wallet.lower() == mine)]


class Finder:
    """Finds the token of a license."""

    def __init__(self, db: Database, chain: Chain, from_block: int) -> None:
        self._db = db
        self._chain = chain
        self._log = MintLog(chain, from_block)

    async def token(self, request: MintRequest) -> Token | Literal[False] | Unclear:
        """Return the token, False when there is none, or why nobody but a person can know."""
        if self._chain.interface.answer != "logs":
            return await self._chain.token(request.license_id, request.wallet, request.tier)
        made = await self._log.made_for(request.wallet)
        said = await claims.of_license(self._db, request.license_id)
        for one in made:
            if one.tx_hash in said:
                return Token(one.token)
        if said:
            return Unclear(
                f"transaction {said[0]} was named as the one that minted the license, and the contract's "
                f"logs show no token by it for {request.wallet}"
            )
        others = await claims.of_others(self._db, [one.tx_hash for one in made], request.license_id)
        for one in made:
            if one.tx_hash in others:
                continue
            named = await self._names(one, request)
            if named:
                return Token(one.token)
            if named is None:
                return Unclear(
                    f"{request.wallet} got token {one.token} by transaction {one.tx_hash}, which may be this "
                    "license's or not; say which with wharfd mint adopt or wharfd mint disown"
                )
        return False

    async def _names(self, made: Made, request: MintRequest) -> bool | None:
        """Say whether the call that made a token names this license; None when it does not tell."""
        told = await self._chain.call_in(made.tx_hash)
        if told is None or told[0].lower() != self._chain.contract.lower():
            return None
        values = Interface.values(request.license_id, request.wallet, request.tier)
        return self._chain.interface.mint.names(told[1], values)
