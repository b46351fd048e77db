"""`EvmMinter`: looks, decides (`model/decisions.py`), acts, and looks again, until it can only wait.

It trusts no memory of its own: after any crash a mint is read from the ledger and from the chain.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from wharfd import Clock, Database, Transaction
from wharfd.contracts.mints import (
    Minted,
    MintRequest,
    NeedsPerson,
    Pending,
    Progress,
    Settled,
    Verified,
    Withdrawn,
)

from ..config import Evm
from ..model import decisions as d
from ..model.failures import Failure, RpcError
from ..model.fees import asks_more
from ..store import intents, ledger
from .chain import Chain
from .endpoints import RpcAway, WrongChain
from .examining import Examiner
from .finding import Finder, Unclear
from .signer import Signer
from .writing import Pen, Revived, Unwanted, Written

_MOST_STEPS = 25
_STOPPED_SECONDS = 60.0
_log = structlog.get_logger("wharfd_mint.evm")


class EvmMinter:
    """Mints through a contract. `passing(step)` hears of every step a crash could fall behind."""

    def __init__(
        self,
        db: Database,
        chain: Chain,
        signer: Signer,
        settings: Evm,
        clock: Clock,
        *,
        writer: str = "",
        passing: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._db = db
        self.chain = chain
        self._settings = settings
        self._clock = clock
        self._passing = passing
        self._rules = settings.rules()
        self.pen = Pen(db, chain, signer, settings, clock, writer=writer, passing=passing)
        self.account = self.pen.account
        self.finder = Finder(db, chain, settings.from_block)
        self.examiner = Examiner(db, chain, signer, settings, clock, self.account)

    async def open(self) -> None:
        """Make the signer known; once before anything else."""
        await ledger.ensure(self._db, self.account)

    async def advance(self, request: MintRequest) -> Progress:
        """See `Minter`."""
        try:
            return await _Pass(self, request).run()
        except WrongChain as error:
            return Pending(_STOPPED_SECONDS, "stopped", str(error))
        except RpcAway as error:
            return Pending(5 * random.uniform(0.8, 1.6), "rpc_away", str(error))  # noqa: S311 not a secret

    async def verify(self, request: MintRequest, tx_hash: str | None) -> Verified:
        """See `Minter`: the receipt must still be there, and of another system's say-so the token, too."""
        if tx_hash is None:
            return Verified(None, detail="there is no transaction to look for")
        try:
            receipt = await self.chain.receipt(tx_hash, request.wallet)
            if receipt is None:
                receipt = await self.chain.receipt(tx_hash, request.wallet, everywhere=True)
            if receipt is not None and receipt.ok:
                return await self._judge(request, tx_hash, receipt)
        except (RpcAway, WrongChain, RpcError) as error:
            return Verified(None, detail=str(error))

        async def reopen(tx: Transaction) -> None:
            await ledger.reopen(tx, request.id, tx_hash)

        # Where nothing can be asked, only the old nonce of a transaction of our own rules out a second mint.
        safe = self._rules.lookup or await ledger.knows(self._db, request.id, tx_hash)
        detail = f"transaction {tx_hash} is not in the chain (any more)"
        return Verified(False, detail=detail, record=reopen if safe else None)

    async def _judge(self, request: MintRequest, tx_hash: str, receipt: d.Receipt) -> Verified:
        final = receipt.block <= await self.chain.final_block(at_least=receipt.block)
        intent = await intents.load(self._db, request.id)
        if intent is None or intent.token_id is not None:
            return Verified(True, final=final)
        token_id = receipt.token_id
        if token_id is not None and self.chain.interface.lookup is not None:
            token = await self.chain.token(request.license_id, request.wallet, request.tier)
            token_id = token.id if token else None
        if token_id is None:
            where = f"{self.chain.contract} for {request.wallet}"
            return Verified(False, detail=f"transaction {tx_hash} made no token for this license at {where}")
        return Verified(True, final=final, token_id=str(token_id))

    async def examine(self) -> list[dict[str, Any]]:
        """See `Minter`."""
        return await self.examiner.examine()

    async def tend(self) -> None:
        """Note balance and nonce, and fill nonces that keep later ones waiting."""
        for nonce in await self.examiner.note_account():
            written = await self.pen.fill(nonce)
            _log.warning("nonce_gap_filled", nonce=nonce, outcome=type(written).__name__)

        async def nothing(tx: Transaction) -> None:
            return None

        async def never(tx: Transaction) -> bool:
            return False

        for name in await ledger.fillers(self._db, self.account):
            gap = MintRequest(name, name, self.account.signer, "", False, False, nothing, never)
            await self.advance(gap)


class _Pass:
    """One go at one mint."""

    def __init__(self, minter: EvmMinter, request: MintRequest) -> None:
        self._m = minter
        self._db = minter._db
        self._chain = minter.chain
        self._request = request
        self._wanted = request.wanted
        self._doomed: str | None = None
        self._sight = d.Sight()
        self._held: ledger.Held | None = None
        self._state = d.State(wanted=False)

    async def run(self) -> Progress:
        self._doomed = await intents.doomed(self._db, self._request.id)
        await self._read()
        for _ in range(_MOST_STEPS):
            action = d.decide(self._state, self._sight, self._m._rules, self._m._clock.now())
            done = await self._act(action)
            if done is not None:
                return done
        return Pending(self._poll, "busy")

    @property
    def _poll(self) -> float:
        return self._m._rules.poll.total_seconds()

    async def _read(self) -> None:
        """Read what is recorded."""
        self._held = await ledger.held(self._db, self._request.id)
        reverts = stolen = 0
        if self._held is None:
            reverts, stolen = await ledger.past(self._db, self._request.id)
        self._state = d.State(
            wanted=self._wanted,
            delivered=self._request.delivered,
            nonce=None if self._held is None else self._held.nonce,
            attempts=() if self._held is None else self._held.attempts,
            reverts=reverts,
            stolen=stolen,
            doomed=self._doomed,
        )

    async def _act(self, action: d.Action) -> Progress | None:
        match action:
            case d.Look(part=part):
                return await self._look(part)
            case d.Sign(kind=kind, replaces=replaces):
                return await self._sign(kind, replaces)
            case d.Send(hash=tx_hash):
                return await self._send(tx_hash)
            case d.Wait(stage=stage, after=after, trouble=trouble):
                return Pending(after.total_seconds(), stage, trouble)
            case d.Deliver(hash=tx_hash):
                return await self._deliver(tx_hash)
            case d.Adopt(token=token):
                return await self._adopt(token)
            case d.Close(outcome=outcome, hash=used):
                await self._close(outcome, used)
            case d.Stop(outcome="settled"):
                return Settled()
            case d.Stop(outcome="withdrawn"):
                return Withdrawn()
            case d.Stop(reason=reason):
                return NeedsPerson(reason)
        return None

    async def _look(self, part: d.Part) -> Progress | None:
        address = self._m.account.signer
        match part:
            case "receipts":
                self._sight = self._sight.with_(receipts=await self._receipts())
            case "final":
                blocks = [one.block for one in (self._sight.receipts or {}).values() if one is not None]
                final = await self._chain.final_block(at_least=max(blocks, default=None))
                self._sight = self._sight.with_(final=final)
            case "token":
                token = await self._m.finder.token(self._request)
                if isinstance(token, Unclear):
                    return await self._give_up(token.reason)
                self._sight = self._sight.with_(token=token)
            case "nonce":
                self._sight = self._sight.with_(nonce=await self._chain.nonce(address))
            case "final_nonce":
                self._sight = self._sight.with_(final_nonce=await self._chain.nonce(address, final=True))
            case "dear":
                assert self._held is not None
                market, rules = await self._chain.market(), self._m._settings.fees()
                self._sight = self._sight.with_(dear=asks_more(market, self._held.fees, rules))
        return None

    async def _receipts(self) -> dict[str, d.Receipt | None]:
        """Look for every hash of the nonce, the newest first; one is enough."""
        assert self._held is not None
        found: dict[str, d.Receipt | None] = {}
        for attempt in reversed(self._held.attempts):
            receipt = await self._chain.receipt(attempt.hash, self._request.wallet)
            if receipt is None and attempt.hash in self._held.seen:
                receipt = await self._chain.receipt(attempt.hash, self._request.wallet, everywhere=True)
                if receipt is None:
                    _log.warning(
                        "transaction_reorged_out", license=self._request.license_id, hash=attempt.hash
                    )
                    await ledger.mark_orphaned(self._db, attempt.hash)
                    await self._read()
            found[attempt.hash] = receipt
            if receipt is not None:
                await ledger.mark_mined(self._db, attempt.hash, receipt)
                self._m._passing("receipt")
                break
        return found

    async def _sign(self, kind: d.Kind, replaces: bool) -> Progress | None:
        if not replaces:
            outcome = await self._m.pen.begin(self._request)
        else:
            assert self._held is not None
            last = self._held.attempts[-1]
            more = last.failure is Failure.GAS_TOO_LOW
            outcome = await self._m.pen.replace(self._request, self._held, kind, more_gas=more)
            if isinstance(outcome, Pending) and outcome.stage == "capped":
                await self._send_if_due(last)
        if isinstance(outcome, Written):
            known = {**(self._sight.receipts or {}), outcome.signed.hash: None}
            self._sight = replace(self._sight, receipts=known)
        elif isinstance(outcome, Unwanted):
            self._wanted = False
        elif not isinstance(outcome, Revived):
            return outcome
        await self._read()
        return None

    async def _send_if_due(self, last: d.Attempt) -> None:
        now = self._m._clock.now()
        if last.sent_at is None or now - last.sent_at >= self._m._rules.resend_after:
            await self._broadcast(last.hash)

    async def _send(self, tx_hash: str) -> Progress | None:
        assert self._held is not None
        kind = next(one.kind for one in self._held.attempts if one.hash == tx_hash)
        if kind == "mint":
            async with self._db.transaction() as tx:  # the last moment at which a refund can still win
                self._wanted = await self._request.still_wanted(tx)
                await self._request.fence(tx)
            if not self._wanted:
                await self._read()
                return None
        failure, words = await self._broadcast(tx_hash)
        if failure is Failure.NO_FUNDS:
            return await self._m.pen.no_funds(words or "")
        if failure in (Failure.REVERTED, Failure.MALFORMED) and kind == "mint":
            await self._doom(f"the node refuses the transaction: {words}")
        if failure in (Failure.BUSY, Failure.AWAY, Failure.NONCE_TOO_HIGH):
            return Pending(max(self._poll, 2.0), "sent", words)
        await self._read()
        # Whatever was answered, look: some nodes answer an error and mine it.
        token = None if failure is Failure.ALREADY_MINTED else self._sight.token
        self._sight = d.Sight(token=token)
        return None

    async def _broadcast(self, tx_hash: str) -> tuple[Failure | None, str | None]:
        assert self._held is not None
        endpoint, failure, words = await self._chain.send(self._held.raws[tx_hash])
        self._m._passing("broadcast")
        await ledger.mark_sent(self._db, tx_hash, self._m._clock.now(), endpoint, failure, words)
        return failure, words

    async def _doom(self, reason: str) -> None:
        async with self._db.transaction() as tx:
            await self._request.fence(tx)
            await intents.doom(tx, self._request.id, reason[:500])
        self._doomed = reason[:500]

    async def _deliver(self, tx_hash: str) -> Progress | None:
        receipt = (self._sight.receipts or {})[tx_hash]
        assert receipt is not None
        assert self._held is not None
        token_id, nonce = receipt.token_id, self._held.nonce
        if token_id is None and self._m._rules.lookup:
            token = await self._m.finder.token(self._request)
            token_id = token.id if isinstance(token, d.Token) else None
        if token_id is None:
            await self._close("mined", tx_hash)
            return NeedsPerson(
                f"transaction {tx_hash} succeeded and made no token for {self._request.wallet}"
            )
        cost = receipt.gas_used * receipt.gas_price + self._m._settings.value

        async def record(tx: Transaction) -> None:
            await ledger.close(tx, self._m.account, nonce, "mined", tx_hash, cost)

        return Minted(tx_hash, str(token_id), self._m.account.chain_id, receipt.block, record)

    async def _adopt(self, token: d.Token) -> Progress | None:
        """Take over a token that is there: find the transaction that made it and wait until that is final."""
        assert token.id is not None
        made = await self._chain.made(token.id)
        if made is None:
            return await self._give_up(
                f"the license is minted as token {token.id}, and the transaction that did it is not in the "
                "logs from from_block on; set from_block to the block of the contract's deployment"
            )
        if made.wallet.lower() != self._request.wallet.lower():
            return await self._give_up(
                f"the license is minted as token {token.id}, for {made.wallet} instead of "
                f"{self._request.wallet}, by transaction {made.tx_hash}"
            )
        receipt = await self._chain.receipt(made.tx_hash, self._request.wallet)
        ours = self._held is not None and made.tx_hash in self._held.raws
        if receipt is None or not receipt.ok or ours:
            return Pending(self._poll, "adopting")
        if receipt.block > await self._chain.final_block(at_least=receipt.block):
            return Pending(self._poll, "adopting")
        loose = self._held is not None
        chain_id = self._m.account.chain_id
        return Minted(made.tx_hash, str(token.id), chain_id, receipt.block, loose_ends=loose)

    async def _give_up(self, reason: str) -> Progress | None:
        if self._held is None:
            return NeedsPerson(reason)
        await self._doom(reason)
        await self._read()
        return None

    async def _close(self, outcome: str, tx_hash: str | None) -> None:
        assert self._held is not None
        spent = 0
        if outcome == "foreign":
            # The last look before a new nonce is allowed: at every endpoint, now that the account is past it.
            receipts = {}
            for attempt in self._held.attempts:
                receipts[attempt.hash] = await self._chain.receipt(
                    attempt.hash, self._request.wallet, everywhere=True
                )
            if any(receipts.values()):
                self._sight = d.Sight(receipts=receipts)
                return
        elif tx_hash is not None:
            receipt = (self._sight.receipts or {}).get(tx_hash)
            spent = receipt.gas_used * receipt.gas_price if receipt else 0
        async with self._db.transaction() as tx:
            await self._request.fence(tx)
            await ledger.close(tx, self._m.account, self._held.nonce, outcome, tx_hash, spent)
        self._sight = d.Sight()
        await self._read()
