"""What a transaction may cost: first offers, replacements, and where to stop. All amounts are in wei."""

from __future__ import annotations

from dataclasses import dataclass

WEI_PER_GWEI = 10**9
WEI_PER_COIN = 10**18
_LEAST_BUMP = 1.10  # what geth asks of a replacement; some nodes take less, none asks more


@dataclass(frozen=True)
class Fees:
    """What a transaction offers per gas. On a chain without priority fees both are the gas price."""

    max_fee: int
    priority: int


@dataclass(frozen=True)
class Market:
    """What the chain asks for at the moment: the base fee of its latest block, and the usual tip."""

    base_fee: int
    tip: int


@dataclass(frozen=True)
class FeeRules:
    """How to offer. `cap` is the most per gas, ever; `bump` how much more a replacement offers."""

    cap: int
    least_tip: int = 1
    most_tip: int = 50 * 10**9
    headroom: float = 2.0  # the base fee can double in six blocks and the transaction still fits
    bump: float = 1.125
    legacy: bool = False

    def __post_init__(self) -> None:
        if self.bump < _LEAST_BUMP:
            raise ValueError("bump: must be at least 1.1; nodes refuse smaller replacements")
        if not 0 < self.least_tip <= self.most_tip <= self.cap:
            raise ValueError("cap: must be at least most_tip, which must be at least least_tip, above 0")


def coins(wei: int) -> str:
    """Return an amount in whole coins."""
    return f"{wei / WEI_PER_COIN:.6f}"


def gwei(wei: int) -> str:
    """Return a price of gas."""
    return f"{wei / WEI_PER_GWEI:.3f} gwei"


def first_offer(market: Market, rules: FeeRules) -> Fees | None:
    """Return what a new transaction offers, or None while the chain asks for more than the cap."""
    tip = min(max(market.tip, rules.least_tip), rules.most_tip)
    if market.base_fee + tip > rules.cap:
        return None
    most = min(int(market.base_fee * rules.headroom) + tip, rules.cap)
    return Fees(most, most if rules.legacy else tip)


def replacement(previous: Fees, market: Market, rules: FeeRules) -> Fees | None:
    """Return what replaces an offer: both parts at least 10 % higher, or None when the cap forbids that.

    Half a replacement is none: a node that sees one of the two raised too little refuses it.
    """
    wanted = first_offer(market, rules) or Fees(rules.cap, min(rules.most_tip, rules.cap))
    most = min(max(raised(previous.max_fee, rules.bump), wanted.max_fee), rules.cap)
    tip = most if rules.legacy else min(max(raised(previous.priority, rules.bump), wanted.priority), most)
    if most < raised(previous.max_fee, _LEAST_BUMP) or tip < raised(previous.priority, _LEAST_BUMP):
        return None
    return Fees(most, tip)


def asks_more(market: Market, offer: Fees, rules: FeeRules) -> bool:
    """Return whether an offer is too little to be mined at the moment."""
    return offer.max_fee < market.base_fee + (market.tip if rules.legacy else 0)


def raised(amount: int, factor: float) -> int:
    """Return the amount times the factor, rounded up, and at least one more."""
    parts = round(factor * 1000)
    return max(-(-amount * parts // 1000), amount + 1)
