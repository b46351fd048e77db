"""Spans of time as people write and read them: `90s`, `5m`, `2h`, `30d`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d|w)")
_WORDS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def read_span(text: str) -> timedelta:
    """Return the span of a text such as `5m`; raises `ValueError`, which says how one is written."""
    match = _SPAN.fullmatch(text)
    try:
        if match is not None:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        raise ValueError("that is longer than can be counted") from None
    raise ValueError('write it like "90s", "5m", "2h" or "30d"')


def span_words(span: timedelta) -> str:
    """Return a span as a sentence has it, in the largest fitting unit: `90 seconds` is `1.5 minutes`."""
    seconds = span.total_seconds()
    unit, size = next((one for one in _WORDS if seconds >= one[1]), _WORDS[-1])
    count = f"{seconds / size:.3g}"
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"
