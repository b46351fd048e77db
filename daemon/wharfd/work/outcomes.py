"""How a piece of work can end: the outcomes a handler returns or raises, and what each does to the row.

A handler may `return RetryAfter(30)` or `raise RetryAfter(30)` from any depth; both mean the same. Returning
anything that is not an outcome means `Done`. Nothing here touches the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ..declare import Retry
from ..errors import DatabaseUnavailable, Overloaded, ServiceUnavailable
from .retry import delay_seconds, spread, told

_AWAY_SECONDS = 2.0  # how soon work is offered again when something it needs is away


class Outcome(Exception):
    """How a piece of work ended. Return it or raise it."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r})"


class Done(Outcome):
    """The work is finished. Also what a handler means that returns nothing."""

    def __init__(self) -> None:
        super().__init__()


class RetryAfter(Outcome):
    """It failed; try again after so many seconds. Counts as an attempt and goes into the history."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again after {seconds:g} s")
        self.seconds = max(0.0, float(seconds))


class Snooze(Outcome):
    """Not now; come back after so many seconds, or at a time. Costs no attempt, leaves no history."""

    def __init__(
        self, seconds: float | None = None, *, until: datetime | None = None, reason: str = ""
    ) -> None:
        if (seconds is None) == (until is None):
            raise ValueError("Snooze: give seconds or until, one of them")
        if until is not None and until.tzinfo is None:
            raise ValueError("Snooze: until must carry a time zone")
        super().__init__(reason)
        self.seconds = None if seconds is None else max(0.0, float(seconds))
        self.until = None if until is None else until.astimezone(UTC)


class Again(Outcome):
    """It went well and is to be done again at a time, with all attempts: for work that never ends."""

    def __init__(self, until: datetime) -> None:
        if until.tzinfo is None:
            raise ValueError("Again: until must carry a time zone")
        super().__init__()
        self.until = until.astimezone(UTC)


class Bury(Outcome):
    """Trying again is pointless: keep the row, with this reason, for a person to look at."""


class Hold(Outcome):
    """Park the row until somebody releases it with requeue. Costs no attempt."""


class Cancel(Outcome):
    """The work is no longer wanted: the row is kept as cancelled and is final."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is written to the row: its next state, and when and with what.

    `delay` and `until` leave the due time alone when both are None. `attempts` replaces the count.
    `error` replaces `last_error` unless None; with `note` it also goes into the history.
    """

    state: str
    attempts: int
    delay: float | None = None
    until: datetime | None = None
    error: str | None = None
    note: bool = False

    @property
    def done(self) -> bool:
        """Whether the row is finished well."""
        return self.state == "done"


def handed_back(attempt: int) -> Verdict:
    """Return the verdict for work that was not or not fully tried: at once, for everybody, at no cost."""
    return Verdict("ready", attempt - 1)


def judge(end: object, attempt: int, retry: Retry) -> Verdict:
    """Turn what a handler returned or raised into what is written to the row.

    `attempt` counts this try. An exception that says something wharfd needs is away costs no attempt.
    """
    if end is None:  # by far the most common
        return Verdict("done", attempt)
    match end:
        case Snooze(seconds=seconds, until=until):
            return Verdict("ready", attempt - 1, seconds, until, end.reason or None)
        case RetryAfter(seconds=seconds):
            return _failed(told(end.reason), seconds, attempt, retry)
        case Again(until=until):
            return Verdict("ready", 0, until=until)
        case Bury():
            return Verdict("buried", attempt, error=told(end.reason or "buried without a reason"), note=True)
        case Hold():
            return Verdict("held", attempt - 1, error=told(end.reason) if end.reason else None)
        case Cancel():
            return Verdict("cancelled", attempt, error=told(end.reason) if end.reason else None)
        case Overloaded(retry_after=seconds):
            return Verdict("ready", attempt - 1, seconds, error=told(end))
        case ServiceUnavailable() | DatabaseUnavailable():
            return Verdict("ready", attempt - 1, spread(_AWAY_SECONDS, 0.3), error=told(end))
        case BaseException() if not isinstance(end, Outcome):
            return _failed(told(end), delay_seconds(retry, attempt), attempt, retry)
        case _:
            return Verdict("done", attempt)


def _failed(error: str, delay: float, attempt: int, retry: Retry) -> Verdict:
    if attempt >= retry.attempts:
        return Verdict("buried", attempt, error=error, note=True)
    return Verdict("ready", attempt, delay, error=error, note=True)


def single(error: BaseException) -> BaseException:
    """Return the one exception inside nested groups (a handler's own nursery wraps it), or the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
