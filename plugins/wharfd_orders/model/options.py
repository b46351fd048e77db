"""What a caller can say about a batch: in the query, in the JSON member `options`, or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal

import msgspec

from .money import EXPONENTS

LANES = ("bulk", "bulk_fifo", "call", "call_fifo")


class BadOption(ValueError):
    """An option that is wrong: its name and what about it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name} {message}")
        self.name = name


class BatchOptions(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, frozen=True):
    """The options of one batch. `stop_on_error` and `validate_only` are the old ones."""

    stop_on_error: bool = False
    validate_only: bool = False
    on_invalid: Literal["reject_batch", "skip_rows"] = "reject_batch"
    executor: str | None = None
    fifo: bool = False
    max_per_second: float | None = None
    priority: int = 100
    start_at: datetime | None = None
    paused: bool = False
    label: str | None = None
    currency: str | None = None
    unknown_fields: Literal["refuse", "keep"] = "refuse"
    owner: str | None = None

    def checked(self) -> BatchOptions:
        """Return the options; raises `BadOption`."""
        if self.max_per_second is not None and not 0.01 <= self.max_per_second <= 100_000:
            raise BadOption("maxPerSecond", "must be between 0.01 and 100000")
        if not 0 <= self.priority <= 1000:
            raise BadOption("priority", "must be between 0 and 1000; lower goes first")
        if self.start_at is not None and self.start_at.tzinfo is None:
            raise BadOption("startAt", "must carry a time zone, such as 2026-11-20T15:00:00Z")
        if self.label is not None and (len(self.label) > 200 or "\x00" in self.label):
            raise BadOption("label", "must have at most 200 characters")
        if self.currency is not None and self.currency not in EXPONENTS:
            raise BadOption("currency", f"{self.currency[:20]!r} is no code of ISO 4217")
        if self.owner is not None and not re.fullmatch(r"[\x21-\x7e]{1,200}", self.owner):
            raise BadOption("owner", "must have 1 to 200 visible ASCII characters")
        return self


NAMES = tuple(field.encode_name for field in msgspec.structs.fields(BatchOptions))
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_options(query: Mapping[str, str], body: Mapping[str, Any]) -> BatchOptions:
    """Return the options that the query and the JSON body give; raises `BadOption`.

    Names are taken in camelCase and in snake_case. `dryRun` is `validateOnly`.
    """
    given: dict[str, Any] = {}
    for source, name, value in (
        *(("query", n, v) for n, v in query.items()),
        *(("body", n, v) for n, v in body.items()),
    ):
        known = _camel(name)
        if known == "dryRun":
            known = "validateOnly"
        if known not in NAMES:
            close = get_close_matches(known, NAMES, 1)
            raise BadOption(name[:60], "is not known" + (f"; did you mean {close[0]}?" if close else ""))
        if known in given and given[known] != value:
            raise BadOption(name, "is given twice, and differently")
        given[known] = _WORDS.get(value.lower(), value) if _is_flag(known) and source == "query" else value
    try:
        return msgspec.convert(given, BatchOptions, strict=False).checked()
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise BadOption(
            path.rstrip("`") or "options", f"is wrong: {message[:1].lower()}{message[1:]}"
        ) from error


def _is_flag(name: str) -> bool:
    return name in ("stopOnError", "validateOnly", "fifo", "paused")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def lane_of(*, transactional: bool, fifo: bool) -> str:
    """Return the lane that the orders of a batch are worked in."""
    return ("bulk" if transactional else "call") + ("_fifo" if fifo else "")
