"""What to do next with a mint: one pure function from what is recorded and what was seen to one action.

The rules, in the order they are applied: a receipt decides everything; a nonce belongs to one mint until it
is used up for good; nothing is signed or sent without having asked the contract; nobody signs with a new
nonce because of an error. What the function needs and does not know yet, it asks for with `Look`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from .failures import Failure

Kind = Literal["mint", "cancel"]


@dataclass(frozen=True)
class Attempt:
    """One signed transaction of a nonce. `sent` counts broadcasts, `failure` is what the last one met."""

    hash: str
    kind: Kind
    signed_at: datetime
    sent: int = 0
    sent_at: datetime | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Receipt:
    """Where a transaction was mined, and whether it did what it was to do."""

    ok: bool
    block: int
    block_hash: str = ""
    gas_used: int = 0
    gas_price: int = 0
    token_id: int | None = None


@dataclass(frozen=True)
class Token:
    """The token that the contract holds for a license."""

    id: int | None = None
    holder: str | None = None


@dataclass(frozen=True)
class State:
    """What is recorded of a mint. `attempts` are those of the open nonce, oldest first."""

    wanted: bool
    delivered: bool = False
    nonce: int | None = None
    attempts: tuple[Attempt, ...] = ()
    reverts: int = 0
    stolen: int = 0
    doomed: str | None = None


@dataclass(frozen=True)
class Sight:
    """What was seen of the chain just now; None is what was not looked at.

    `final` is the last block that counts as final. `token` is a `Token`, or False when there is none.
    `dear` says that the chain asks for more than the newest transaction offers.
    """

    receipts: Mapping[str, Receipt | None] | None = None
    final: int | None = None
    token: Token | Literal[False] | None = None
    nonce: int | None = None
    final_nonce: int | None = None
    dear: bool | None = None

    def with_(self, **seen: object) -> Sight:
        """Return the same with more seen."""
        return replace(self, **seen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rules:
    """How patient to be. `lookup` says whether the contract can tell if a license was minted."""

    poll: timedelta = timedelta(seconds=3)
    resend_after: timedelta = timedelta(seconds=30)
    bump_after: timedelta = timedelta(minutes=3)
    most_reverts: int = 3
    lookup: bool = True


Part = Literal["receipts", "final", "token", "nonce", "final_nonce", "dear"]


@dataclass(frozen=True)
class Look:
    """Look at this part of the chain, then decide again."""

    part: Part


@dataclass(frozen=True)
class Sign:
    """Sign a transaction: for a new nonce, or for the open one in place of what it has."""

    kind: Kind
    replaces: bool


@dataclass(frozen=True)
class Send:
    """Broadcast (again) these bytes."""

    hash: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do but look again later."""

    stage: str
    after: timedelta
    trouble: str | None = None


@dataclass(frozen=True)
class Deliver:
    """The mint is final: this transaction made the token."""

    hash: str


@dataclass(frozen=True)
class Adopt:
    """The contract holds a token for the license that no known transaction of ours made."""

    token: Token


@dataclass(frozen=True)
class Close:
    """The open nonce is used up for good: by one of ours (`hash`), or by somebody else's transaction."""

    outcome: Literal["reverted", "cancelled", "foreign"]
    hash: str | None = None


@dataclass(frozen=True)
class Stop:
    """Nothing is under way; this is how it ends."""

    outcome: Literal["settled", "withdrawn", "held"]
    reason: str = ""


Action = Look | Sign | Send | Wait | Deliver | Adopt | Close | Stop


def decide(state: State, sight: Sight, rules: Rules, now: datetime) -> Action:
    """Return the one next thing to do."""
    if state.nonce is None or not state.attempts:
        return _begin(state, sight, rules)
    if sight.receipts is None:
        return Look("receipts")
    for attempt in state.attempts:
        receipt = sight.receipts.get(attempt.hash)
        if receipt is not None:
            return _mined(attempt, receipt, sight, rules)
    if state.wanted and not state.delivered and state.doomed is None:
        return _pursue(state, sight, rules, now)
    return _take_back(state, sight, rules, now)


def _begin(state: State, sight: Sight, rules: Rules) -> Action:
    """No nonce is held."""
    if state.delivered:
        return Stop("settled")
    if not state.wanted:
        return Stop("withdrawn")
    if rules.lookup:
        if sight.token is None:
            return Look("token")
        if sight.token:
            return Adopt(sight.token)
    elif state.stolen:
        return Stop(
            "held",
            "another transaction used up the nonce of this mint, and the contract cannot be asked whether "
            "the license was minted; look at the wallet's tokens before you retry",
        )
    if state.doomed is not None:
        return Stop("held", state.doomed)
    if state.reverts >= rules.most_reverts:
        return Stop("held", f"the mint was refused on the chain {state.reverts} times")
    return Sign("mint", replaces=False)


def _mined(attempt: Attempt, receipt: Receipt, sight: Sight, rules: Rules) -> Action:
    """One of the transactions of the nonce is in a block: the others cannot be any more."""
    if sight.final is None:
        return Look("final")
    final = receipt.block <= sight.final
    if attempt.kind == "cancel":
        return Close("cancelled", attempt.hash) if final else Wait("cancelling", rules.poll)
    if receipt.ok:
        return Deliver(attempt.hash) if final else Wait("mined", rules.poll)
    return Close("reverted", attempt.hash) if final else Wait("reverted", rules.poll)


def _pursue(state: State, sight: Sight, rules: Rules, now: datetime) -> Action:
    """The token is wanted and no transaction of the nonce is in a block."""
    last = state.attempts[-1]
    step = _step(state, sight, rules, now)
    asks = isinstance(step, Sign | Send) or last.failure is Failure.ALREADY_MINTED
    if last.kind == "cancel" or not rules.lookup or not asks:
        return step
    if sight.token is None:
        return Look("token")
    return Adopt(sight.token) if sight.token else step


def _take_back(state: State, sight: Sight, rules: Rules, now: datetime) -> Action:
    """The token is not wanted (any more): the nonce is used up by a transaction to ourselves."""
    if state.attempts[-1].kind == "cancel":
        return _step(state, sight, rules, now)
    return _unless_used(state, sight, rules, Sign("cancel", replaces=True))


def _step(state: State, sight: Sight, rules: Rules, now: datetime) -> Action:
    """Move the newest transaction on: send, send again, offer more, or wait."""
    assert state.nonce is not None
    last = state.attempts[-1]
    if last.sent_at is None:
        return Send(last.hash)
    wait = Wait("sent" if last.kind == "mint" else "cancelling", rules.poll)
    too_little = last.failure in (Failure.UNDERPRICED, Failure.GAS_TOO_LOW)
    late = now - last.signed_at >= rules.bump_after
    again = now - last.sent_at >= rules.resend_after
    if late and not too_little and sight.nonce is not None and sight.nonce < state.nonce:
        # Those before it hold it up. Offering more is money for nothing, unless the chain has become dearer.
        if sight.dear is None:
            return Look("dear")
        late = sight.dear
    if too_little or late:
        return _unless_used(state, sight, rules, Sign(last.kind, replaces=True))
    if again or last.failure is Failure.NONCE_USED:
        return _unless_used(state, sight, rules, Send(last.hash) if again else wait)
    return wait


def _unless_used(state: State, sight: Sight, rules: Rules, step: Sign | Send | Wait) -> Action:
    """Return the step, unless the account is past this nonce: then one of ours, or another's, used it."""
    assert state.nonce is not None
    if sight.nonce is None:
        return Look("nonce")
    if sight.nonce <= state.nonce:
        return step
    if sight.final_nonce is None:
        return Look("final_nonce")
    if sight.final_nonce <= state.nonce:
        return Wait("nonce_used", rules.poll, "its nonce was used, and by which transaction is not final yet")
    return Close("foreign")
