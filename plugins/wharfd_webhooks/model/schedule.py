"""When a failed delivery is tried again. Pure: the time and the randomness are arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = 24 * 3600.0
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")


@dataclass(frozen=True)
class Policy:
    """`delays[n]` is the wait after the n-th failed try; there are `len(delays) + 1` tries.

    `reject_delays` is the short schedule for answers that refuse the request itself.
    """

    delays: tuple[float, ...] = (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    reject_delays: tuple[float, ...] = (30, 300, 3600)
    jitter: float = 0.2

    @property
    def tries(self) -> int:
        """How often a delivery is tried at most."""
        return len(self.delays) + 1

    @property
    def window_seconds(self) -> float:
        """The time over which it is tried, without jitter."""
        return float(sum(self.delays))


def next_delay(
    policy: Policy,
    tries: int,
    *,
    rejected: bool = False,
    retry_after: float | None = None,
    budget: int | None = None,
    chance: float = 0.5,
) -> float | None:
    """Return the wait after so many failed tries (from 1), or None when it was the last one.

    `chance` (0 to 1) places the wait within ±jitter. `retry_after` only lengthens it. `budget` replaces the
    number of tries where a person asked for so many; the last delay is then repeated.
    """
    delays: Sequence[float] = policy.reject_delays if rejected else policy.delays
    if budget is not None:
        if tries >= budget:
            return None
        delays = delays or policy.delays or (60.0,)
    elif tries > len(delays):
        return None
    planned = delays[min(max(tries, 1), len(delays)) - 1]
    spread = planned * (1 + policy.jitter * (2 * min(max(chance, 0.0), 1.0) - 1))
    return max(spread, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date. Past is 0, the cap is a day; None when
    unreadable."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    seconds = (at - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
