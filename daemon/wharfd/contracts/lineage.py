"""Where things come from: what arrived from outside and led to events, for whoever follows a trace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from .services import ServiceKey


class Origin(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that arrived from outside, such as a provider's webhook. What follows carries `trace_id`.

    `page` is where the console shows it, "" when no page does.
    """

    id: str
    source: str
    name: str
    owner: str | None
    received_at: datetime
    state: str
    trace_id: str
    page: str = ""


class Origins(Protocol):
    """Finds what arrived."""

    async def find(self, ids: Sequence[str], owner: str | None) -> list[Origin]:
        """Return those of these ids that are there and that the owner may see; owner None sees all."""
        ...


ORIGINS: ServiceKey[Origins] = ServiceKey("origins")
