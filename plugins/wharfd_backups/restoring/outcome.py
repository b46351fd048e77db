"""What one check of a restored server says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from wharfd import WharfdError


class Check(msgspec.Struct, frozen=True):
    """One check: passed, failed with the reason, or skipped with the reason."""

    name: str
    outcome: str
    said: str = ""


class Failed(Exception):
    """A check found something wrong."""


class Skipped(Exception):
    """A check cannot be made here."""


async def one(name: str, check: Callable[[], Awaitable[str]]) -> Check:
    """Make one check; whatever it raises becomes its outcome."""
    try:
        return Check(name, "passed", await check())
    except Skipped as why:
        return Check(name, "skipped", str(why))
    except (Failed, WharfdError) as why:
        return Check(name, "failed", str(why))
