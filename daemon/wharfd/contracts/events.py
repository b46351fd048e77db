"""Domain events: facts that one plugin publishes and others hear, in the same commit as the fact."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every event. A subclass names its `type` and `version` and lists its facts as fields.

    `owner` says whose fact it is (None: the house's), `subject` the id it is about.
    """

    type: ClassVar[str]
    version: ClassVar[int] = 1

    owner: str | None = None
    subject: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One published event as a subscriber gets it. `data` is the event's facts as plain JSON."""

    id: str
    type: str
    version: int
    occurred_at: datetime
    owner: str | None
    subject: str
    trace_id: str | None
    data: dict[str, Any]
