"""Signing: the one place where a nonce is taken and a transaction is made.

Everything that could take long is asked before; the transaction that holds the signer's row only counts,
signs and keeps. Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from wharfd import Clock, Database, Transaction
from wharfd.contracts.mints import MintRequest, NeedsPerson, Pending

from ..config import Evm
from ..model.decisions import Kind
from ..model.failures import Failure, RpcError
from ..model.fees import WEI_PER_COIN, Fees, coins, first_offer, gwei, replacement
from ..store import intents, ledger
from .chain import Chain, Refusal
from .signer import Draft, Signer

_PLAIN_GAS = 21_000  # what a transfer takes that calls nothing
_MOST_GAS = 10_000_000
_NO_FUNDS_SECONDS = 60.0
GAP = "gap:"


@dataclass(frozen=True)
class Written:
    """A transaction was signed and committed."""

    signed: ledger.Signed


@dataclass(frozen=True)
class Unwanted:
    """Nothing was signed: the buyer is not active any more."""


@dataclass(frozen=True)
class Revived:
    """A nonce that was given up is held again; its transactions are there already."""


Outcome = Written | Unwanted | Revived | Pending | NeedsPerson


class Pen:
    """Signs for one account on one chain."""

    def __init__(
        self,
        db: Database,
        chain: Chain,
        signer: Signer,
        settings: Evm,
        clock: Clock,
        *,
        writer: str,
        passing: Callable[[str], None],
    ) -> None:
        self._db = db
        self._chain = chain
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._writer = writer
        self._passing = passing
        self._fees = settings.fees()
        self._interface = settings.interface()
        self.account = ledger.Account(settings.chain_id, signer.address)

    async def begin(self, request: MintRequest) -> Outcome:
        """Take a new nonce for the mint and sign for it, if the contract would accept it."""
        data = self._interface.mint.call(
            self._interface.values(request.license_id, request.wallet, request.tier)
        )
        try:
            gas = await self._chain.gas_for(self._signer.address, data, self._settings.value)
        except Refusal as refusal:
            return await self._refused(refusal)
        except RpcError as error:
            return Pending(30, "waiting", f"the node cannot say what the mint takes: {error}")
        gas = self._settings.gas_limit or gas * 5 // 4
        fees = await self._offer()
        if isinstance(fees, Pending):
            return fees
        count = await self._chain.nonce(self._signer.address)
        return await self._take(request, count, Draft(
            self.account.chain_id, 0, self._settings.contract, data, gas, fees, self._settings.value,
            self._settings.legacy,
        ))  # fmt: skip

    async def _offer(self) -> Fees | Pending:
        market = await self._chain.market()
        asked = gwei(market.base_fee + market.tip)
        trouble = f"the chain asks for {asked} per gas, and max_fee_gwei is {self._settings.max_fee_gwei:g}"
        return first_offer(market, self._fees) or Pending(30, "waiting", trouble)

    async def _refused(self, refusal: Refusal) -> Outcome:
        if refusal.failure is Failure.NO_FUNDS:
            return await self.no_funds(str(refusal))
        if refusal.failure is Failure.ALREADY_MINTED:
            # The look-up said otherwise a moment ago: this endpoint is further than that one.
            return Pending(self._settings.poll.total_seconds(), "adopting")
        return NeedsPerson(f"the contract refuses the mint: {refusal}")

    async def no_funds(self, words: str) -> Pending:
        """Pause the signer: every other mint would meet the same."""
        reason = f"signer {self._signer.address} cannot pay: {words}"
        await ledger.pause(self._db, self.account, _NO_FUNDS_SECONDS, reason)
        return Pending(_NO_FUNDS_SECONDS, intents.NO_FUNDS, reason)

    async def _take(self, request: MintRequest, count: int, draft: Draft) -> Outcome:
        async with self._db.transaction() as tx:
            if not await request.still_wanted(tx):
                return Unwanted()
            await request.fence(tx)
            fence, paused_for = await ledger.become_writer(tx, self.account, self._writer)
            if paused_for is not None:
                return Pending(15, intents.NO_FUNDS, paused_for)
            if await ledger.in_flight(tx, self.account) >= self._settings.in_flight:
                return Pending(self._settings.poll.total_seconds(), "queued")
            too_much = await self._over_cap(tx, _worst(draft))
            if too_much is not None:
                return too_much
            nonce = await ledger.free_nonce(tx, self.account, count)
            day = self._clock.now().date()
            signed = await self._sign(draft, nonce, "mint")
            await ledger.open_nonce(tx, self.account, nonce, request.id, fence, day, _worst(draft))
            await ledger.keep(tx, self.account, request.id, signed)
            await intents.mark_sent_on(tx, request.id)
            self._passing("persist")
        self._passing("commit")
        return Written(signed)

    async def replace(
        self, request: MintRequest, held: ledger.Held, kind: Kind, *, more_gas: bool
    ) -> Outcome:
        """Sign another transaction for the open nonce, dearer than all before it; Pending when capped."""
        fees = replacement(held.fees, await self._chain.market(), self._fees)
        if fees is None:
            return Pending(
                self._settings.poll.total_seconds(),
                "capped",
                "it does not get into a block at the most that max_fee_gwei and max_tip_gwei allow",
            )
        draft = await self._draft(request, held, kind, fees, more_gas=more_gas)
        async with self._db.transaction() as tx:
            if kind == "mint" and not await request.still_wanted(tx):
                return Unwanted()
            await request.fence(tx)
            fence, _ = await ledger.become_writer(tx, self.account, self._writer)
            too_much = await self._over_cap(tx, _worst(draft)) if kind == "mint" else None
            if too_much is not None:
                return too_much
            if not await ledger.reserve(tx, self.account, held.nonce, fence, _worst(draft)):
                return Pending(0, "sent")
            signed = await self._sign(draft, held.nonce, kind)
            await ledger.keep(tx, self.account, request.id, signed)
            self._passing("persist")
        self._passing("commit")
        return Written(signed)

    async def _draft(
        self, request: MintRequest, held: ledger.Held, kind: Kind, fees: Fees, *, more_gas: bool
    ) -> Draft:
        chain_id, legacy = self.account.chain_id, self._settings.legacy
        if kind == "cancel":
            gas = await self._plain_gas()
            return Draft(chain_id, held.nonce, self._signer.address, b"", gas, fees, 0, legacy)
        values = self._interface.values(request.license_id, request.wallet, request.tier)
        gas = min(held.gas * 2, _MOST_GAS) if more_gas else held.gas
        data = self._interface.mint.call(values)
        value = self._settings.value
        return Draft(chain_id, held.nonce, self._settings.contract, data, gas, fees, value, legacy)

    async def fill(self, nonce: int) -> Outcome:
        """Take a nonce that keeps later ones waiting, for a transaction to ourselves."""
        fees = await self._offer()
        if isinstance(fees, Pending):
            return fees
        address = self._signer.address
        gas = await self._plain_gas()
        draft = Draft(self.account.chain_id, nonce, address, b"", gas, fees, 0, self._settings.legacy)
        name = f"{GAP}{nonce}"
        async with self._db.transaction() as tx:
            fence, _ = await ledger.become_writer(tx, self.account, self._writer)
            if await ledger.revive(tx, self.account, nonce, name):
                return Revived()
            if await ledger.free_nonce(tx, self.account, nonce) != nonce:
                return Unwanted()
            signed = await self._sign(draft, nonce, "cancel")
            day = self._clock.now().date()
            await ledger.open_nonce(tx, self.account, nonce, name, fence, day, _worst(draft))
            await ledger.keep(tx, self.account, name, signed)
        return Written(signed)

    async def _plain_gas(self) -> int:
        address = self._signer.address
        try:
            asked = await self._chain.endpoints.call("eth_estimateGas", {"from": address, "to": address})
        except RpcError:
            return _PLAIN_GAS
        return max(int(asked, 16) * 5 // 4, _PLAIN_GAS)

    async def _sign(self, draft: Draft, nonce: int, kind: Kind) -> ledger.Signed:
        final = Draft(**{**vars(draft), "nonce": nonce})
        raw, tx_hash = await self._signer.sign(final)
        self._passing("sign")
        return ledger.Signed(
            kind=kind,
            nonce=nonce,
            hash=tx_hash,
            raw=raw,
            gas=draft.gas,
            fees=draft.fees,
            at=self._clock.now(),
        )

    async def _over_cap(self, tx: Transaction, worst: int) -> Pending | None:
        now = self._clock.now()
        cap = int(self._settings.spend_per_day * WEI_PER_COIN)
        spent = await ledger.spent(tx, self.account, now.date())
        if spent + worst <= cap:
            return None
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
        wait = min((midnight - now).total_seconds() + 1, 900.0)  # looked at before: the cap may be raised
        return Pending(
            wait,
            "capped",
            f"the day's spending cap is reached: {coins(spent)} of {self._settings.spend_per_day} coins; "
            "minting goes on at midnight UTC, or raise spend_per_day",
        )


def _worst(draft: Draft) -> int:
    return draft.gas * draft.fees.max_fee + draft.value
