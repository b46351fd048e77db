"""What becomes of a delivery after a try: delivered, tried again when, given up why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .actions import Action, action_for
from .schedule import Policy, next_delay, read_retry_after

End = Literal["delivered", "again", "exhausted", "gone"]

# state of the row, whether it was tried → what callers are told
_TOLD = {"done": "delivered", "buried": "failed", "held": "parked", "cancelled": "cancelled"}
STATUSES = ("pending", "retrying", "delivered", "failed", "parked", "cancelled")


def status_of(state: str, attempts: int, *, waits_for_retry: bool | None = None) -> str:
    """Return the status callers see for a row in this state after so many tries."""
    if state in _TOLD:
        return _TOLD[state]
    tried = attempts > (state == "running") if waits_for_retry is None else waits_for_retry
    return "retrying" if tried else "pending"


def states_of(status: str) -> tuple[str, ...]:
    """Return the states of rows that have this status; for pending and retrying look at the attempts too."""
    if status in ("pending", "retrying"):
        return ("ready", "running")
    return tuple(state for state, told in _TOLD.items() if told == status)


@dataclass(frozen=True)
class Answer:
    """How a send ended: a status, or an error kind with a sentence. `body` is what came back, cut short."""

    status: int | None
    error_kind: str | None = None
    error: str = ""
    retry_after: str | None = None
    body: str = ""
    request_sent: str = "none"
    seconds: float = 0.0

    @property
    def action(self) -> Action:
        """What the table says about it."""
        return action_for(self.status, self.error_kind)

    @property
    def sentence(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        if self.error_kind is not None:
            return self.error
        return "" if self.action.kind == "success" else f"answered {self.status}"


@dataclass(frozen=True)
class Verdict:
    """What is written: the end of this try, the wait before the next one, and how long the endpoint rests."""

    end: End
    reason: str = ""
    delay: float | None = None
    rest_seconds: float = 0.0


def judge(
    answer: Answer,
    tries: int,
    policy: Policy,
    *,
    now: datetime,
    budget: int | None = None,
    chance: float = 0.5,
) -> Verdict:
    """Decide after the `tries`-th try (from 1)."""
    action = answer.action
    if action.kind == "success":
        return Verdict("delivered")
    if action.kind == "gone":
        return Verdict("gone", "answered 410: the receiver wants nothing more")
    asked = read_retry_after(answer.retry_after, now)
    delay = next_delay(
        policy,
        tries,
        rejected=action.kind == "reject",
        retry_after=asked,
        budget=budget,
        chance=chance,
    )
    rest = (asked or 0.0) if action.kind == "slow_down" else 0.0
    if delay is None:
        count = "1 try" if tries == 1 else f"{tries} tries"
        return Verdict("exhausted", f"given up after {count}: {answer.sentence}", rest_seconds=rest)
    return Verdict("again", answer.sentence, delay, rest)
