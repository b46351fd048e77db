"""How many orders a batch with a rate may let go now."""

from __future__ import annotations

_BURST_SECONDS = 1.0


def allowance(per_second: float, elapsed: float) -> tuple[int, float]:
    """Return how many orders may go, and the seconds that stay unused towards the next one.

    Over any stretch of time at most `per_second` times its length, and one second's worth more, are let go:
    time in which nothing could go is not made up for.
    """
    usable = min(max(0.0, elapsed), max(_BURST_SECONDS, 1.0 / per_second))
    count = int(usable * per_second + 1e-9)
    return count, max(0.0, usable - count / per_second)
