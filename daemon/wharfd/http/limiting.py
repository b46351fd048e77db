"""Rate limits on requests, and the fields that tell the caller where it stands.

The fields follow draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "route";q=100;w=60` and
`RateLimit: "route";r=57;t=12`. The older X-RateLimit-Limit, -Remaining and -Reset (seconds) show the tightest
of the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..contracts.access import Identity
from ..declare import Rate
from .clients import Address, neighbourhood
from .problems import QUOTA_EXCEEDED, TooMany, whole_seconds


class Verdict(Protocol):
    """What the rate limiter says."""

    @property
    def allowed(self) -> bool:
        """Whether the call may go on."""
        ...

    @property
    def remaining(self) -> int:
        """How many calls are left in the window."""
        ...

    @property
    def reset_seconds(self) -> float:
        """When there is more."""
        ...

    @property
    def limit(self) -> int:
        """How many calls a window has."""
        ...

    @property
    def window(self) -> float:
        """How long a window is, in seconds."""
        ...


class Limits(Protocol):
    """The part of the rate limiter that is used here."""

    async def take(self, name: str, key: str, rate: Rate, cost: int = 1) -> Verdict:
        """Take one call out of the budget of `key`."""
        ...


async def take_all(
    limits: Limits, route: str, rate: Rate | None, identity: Identity, client: Address | None
) -> dict[str, str]:
    """Count this request against the route's rate and the caller's own; return the fields for the answer.

    Raises `TooMany` (429) with the same fields when one of them is used up.
    """
    verdicts: list[tuple[str, Verdict]] = []
    key = identity.owner or (neighbourhood(client) if identity.kind == "anonymous" else identity.subject)
    if rate is not None:
        verdicts.append(("route", await limits.take(f"http {route}", key, rate)))
    if identity.rate_per_minute is not None:
        mine = Rate(calls=identity.rate_per_minute, seconds=60)
        verdicts.append(("caller", await limits.take("http caller", identity.subject, mine)))
    if not verdicts:
        return {}
    fields = _fields(verdicts)
    refused = [(name, verdict) for name, verdict in verdicts if not verdict.allowed]
    if refused:
        name, verdict = max(refused, key=lambda pair: pair[1].reset_seconds)
        window, wait = f"{verdict.window:g} s", whole_seconds(verdict.reset_seconds)
        raise TooMany(
            f"more than {verdict.limit} requests in {window}; ask again in {wait} s",
            retry_after=verdict.reset_seconds,
            kind=QUOTA_EXCEEDED,
            headers=fields,
            **{"violated-policies": [name]},
        )
    return fields


def _fields(verdicts: Sequence[tuple[str, Verdict]]) -> dict[str, str]:
    tightest = min(verdicts, key=lambda pair: (pair[1].remaining / pair[1].limit, -pair[1].reset_seconds))[1]
    return {
        "ratelimit-policy": ", ".join(f'"{n}";q={v.limit};w={whole_seconds(v.window)}' for n, v in verdicts),
        "ratelimit": ", ".join(
            f'"{n}";r={max(0, v.remaining)};t={_seconds(v.reset_seconds)}' for n, v in verdicts
        ),
        "x-ratelimit-limit": str(tightest.limit),
        "x-ratelimit-remaining": str(max(0, tightest.remaining)),
        "x-ratelimit-reset": str(_seconds(tightest.reset_seconds)),
    }


def _seconds(seconds: float) -> int:
    return max(0, int(seconds) + (seconds > int(seconds)))
