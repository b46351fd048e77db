"""Rows that retention has archived, for plugins whose queries span both: the hot ones and these."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

from .services import ServiceKey


class ColdRows(Protocol):
    """The archive, read table by table."""

    def rows(self, table: str, first: datetime, last: datetime) -> AsyncIterator[dict[str, Any]]:
        """Give the archived rows of `schema.table` whose retention column lies in [first, last), any order.

        A row is a dict by column, with times as ISO text, as PostgreSQL writes JSON. What is archived
        and still in its table is left out.
        """
        ...


COLD: ServiceKey[ColdRows] = ServiceKey("cold_rows")
