"""Which events an endpoint asks for: `payment.received`, `order.*` (everything below) or `*`."""

from __future__ import annotations

import re

MAX_PATTERNS = 100
_TYPE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*")
_LONGEST = 128


def type_problem(event_type: str) -> str | None:
    """Return what is wrong with an event type's name, or None."""
    if len(event_type) > _LONGEST:
        return f"must have at most {_LONGEST} characters"
    if not _TYPE.fullmatch(event_type):
        return "must be lower-case words joined by dots, such as order.created"
    return None


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern, or None."""
    if pattern == "*":
        return None
    stem = pattern.removesuffix(".*")
    if "*" in stem:
        return "a * may stand alone or at the end after a dot, such as order.*"
    return type_problem(stem)


def matches(pattern: str, event_type: str) -> bool:
    """Whether a pattern asks for a type. `order.*` asks for `order.created` and `order.item.lost`, not
    `order`."""
    if pattern == "*" or pattern == event_type:
        return True
    return pattern.endswith(".*") and event_type.startswith(pattern[:-1])


def asking_for(event_type: str) -> list[str]:
    """Return every pattern that asks for this type: what a query compares with."""
    parts = event_type.split(".")
    return ["*", event_type, *(".".join(parts[:n]) + ".*" for n in range(1, len(parts)))]
