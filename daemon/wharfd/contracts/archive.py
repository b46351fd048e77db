"""The archive of rows that retention took out of the database, for plugins that answer from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

from .services import ServiceKey


class Archive(Protocol):
    """Reads rows back from the archive: dicts of JSON values, times as ISO 8601 text or datetime."""

    async def gone_before(self, table: str) -> datetime | None:
        """Return the time before which rows of `schema.table` are in the archive only; None if none are."""
        ...

    def rows(self, table: str, start: datetime, end: datetime) -> AsyncIterator[dict[str, Any]]:
        """Yield the archived rows with `start` ≤ time < `end`, in no particular order, in constant memory."""
        ...


ARCHIVE: ServiceKey[Archive] = ServiceKey("archive")
