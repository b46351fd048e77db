"""What may be said: text made clean and measured, ids, and statistics as answers show them. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

MOST_ID = 200

# Invisible characters that turn the direction of the text around them: good for faking, not for feedback.
_TURNING = {ord(c): None for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
_LINES = {"\n", "\t"}


class Refused(ValueError):
    """A text that is not taken; the message says why, without the field's name."""


def clean_text(text: str, most: int) -> str:
    """Return a text in composed form (NFC) with plain line ends and no blanks around it.

    Characters are counted after that, as Unicode code points. Raises `Refused` for nothing, too much, and
    control characters.
    """
    cleaned = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(_TURNING))
    cleaned = cleaned.strip()
    if not cleaned:
        raise Refused("must not be blank")
    if len(cleaned) > most:
        raise Refused(f"has {len(cleaned)} characters, at most {most} are possible")
    for character in cleaned:
        if character not in _LINES and unicodedata.category(character) in ("Cc", "Cs"):
            raise Refused(f"holds the control character U+{ord(character):04X}")
    return cleaned


def clean_id(text: str) -> str:
    """Return an id as it came; raises `Refused` for one that is empty, too long or not printable."""
    if not 0 < len(text) <= MOST_ID:
        raise Refused(f"must have 1 to {MOST_ID} characters")
    if not text.isprintable() or text != text.strip():
        raise Refused("must be printable and have no blanks around it")
    return text


def statistics(insight_id: str, counted: Mapping[str, int]) -> dict[str, Any]:
    """Return the statistics of an insight from its counters."""
    ratings = {str(n): counted[f"rating_{n}"] for n in range(1, 6)}
    total = sum(ratings.values())
    points = sum(int(n) * count for n, count in ratings.items())
    flags = {name: counted[name] for name in ("inaccurate", "misleading", "spam")}
    return {
        "insight_id": insight_id,
        "total_ratings": total,
        "average_rating": round(points / total, 4) if total else 0.0,
        "rating_distribution": ratings,
        "total_comments": counted["comments"],
        "total_flags": sum(flags.values()),
        "flag_types": {name: count for name, count in flags.items() if count},
    }
