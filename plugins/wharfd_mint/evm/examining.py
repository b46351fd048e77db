"""Looking after a signer: what its account, its nonces and its endpoints are like."""

from __future__ import annotations

from typing import Any

from wharfd import Clock, Database

from ..config import Evm
from ..model.failures import RpcError
from ..model.fees import WEI_PER_COIN, coins, gwei
from ..store import intents, ledger
from .chain import Chain, Refusal
from .endpoints import RpcAway, WrongChain
from .signer import Signer

_FILLED_AT_ONCE = 5
_NOBODY = "0x00000000000000000000000000000000000f00d5"  # only ever asked about, never sent anything


class Examiner:
    """Looks; signs nothing."""

    def __init__(
        self, db: Database, chain: Chain, signer: Signer, settings: Evm, clock: Clock, account: ledger.Account
    ) -> None:
        self._db = db
        self._chain = chain
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._account = account

    async def note_account(self) -> list[int]:
        """Keep balance and nonce for the alerts; return a few of the nonces that hold up later ones."""
        try:
            balance = await self._chain.balance(self._signer.address)
            count = await self._chain.nonce(self._signer.address)
        except (RpcAway, WrongChain, RpcError):
            return []  # the endpoints' own health says so
        await ledger.note(self._db, self._account, balance, count, self._clock.now())
        enough = balance >= int(self._settings.low_balance * WEI_PER_COIN)
        if enough and await ledger.resume(self._db, self._account):
            await intents.hurry_stage(self._db, intents.NO_FUNDS)
        return (await ledger.gaps(self._db, self._account, count))[:_FILLED_AT_ONCE]

    async def examine(self) -> list[dict[str, Any]]:
        """Return what a person should know before asking why nothing is minted."""
        found = [
            _line("endpoint", "fail" if wrong else "ok", f"{name}: {wrong or f'at block {block}'}")
            for name, block, wrong in await self._chain.endpoints.heights()
        ]
        try:
            found += await self._ask()
        except (RpcAway, WrongChain) as error:
            found.append(_line("chain", "fail", str(error)))
        except RpcError as error:
            found.append(_line("chain", "fail", f"the node refuses a question: {error}"))
        return found

    async def _ask(self) -> list[dict[str, Any]]:
        address, chain = self._signer.address, self._chain
        code = await chain.endpoints.call("eth_getCode", self._settings.contract, "latest")
        there = len(code) > 2
        found = [
            _line(
                "chain", "ok", f"id {self._settings.chain_id}, final up to block {await chain.final_block()}"
            ),
            _line(
                "contract",
                "ok" if there else "fail",
                self._settings.contract + ("" if there else ": no code there"),
            ),
        ]
        if there:
            found.append(await self._rehearse())
        balance, count = await chain.balance(address), await chain.nonce(address)
        low = balance < int(self._settings.low_balance * WEI_PER_COIN)
        found.append(_line("balance", "fail" if low else "ok", f"{address} has {coins(balance)} coins"))
        row = await ledger.get(self._db, self._account)
        gaps = await ledger.gaps(self._db, self._account, count)
        open_nonces = 0 if row is None else row["in_flight"]
        detail = f"next {count}, {open_nonces} open" + (f", missing {gaps[:10]}" if gaps else "")
        found.append(_line("nonces", "fail" if gaps else "ok", detail))
        if row is not None and row["paused_for"] is not None:
            found.append(_line("signer", "fail", row["paused_for"]))
        spent = await ledger.spent(self._db, self._account, self._clock.now().date())
        cap = self._settings.spend_per_day
        state = "warn" if spent > 0.8 * cap * WEI_PER_COIN else "ok"
        found.append(_line("spending", state, f"{coins(spent)} of today's {cap} coins"))
        market = await chain.market()
        found.append(_line("fees", "ok", f"base {gwei(market.base_fee)}, tip {gwei(market.tip)}"))
        return found

    async def _rehearse(self) -> dict[str, Any]:
        """Ask for a mint that is never sent: does the look-up work, may we mint?"""
        interface = self._settings.interface()
        if interface.answer == "none":
            return _line("look-up", "warn", "none: a mint whose nonce is lost needs a person")
        try:
            if interface.lookup is not None:
                await self._chain.token("REHEARSAL-ONLY", _NOBODY, "")
            data = interface.mint.call(interface.values("REHEARSAL-ONLY", _NOBODY, ""))
            gas = await self._chain.gas_for(self._signer.address, data, self._settings.value)
        except ValueError as error:
            return _line("rehearsal", "fail", str(error))
        except Refusal as refusal:
            return _line("rehearsal", "fail", f"the contract would refuse: {refusal}")
        return _line("rehearsal", "ok", f"a mint would take {gas} gas")


def _line(check: str, state: str, detail: str) -> dict[str, Any]:
    return {"check": check, "state": state, "detail": detail}
