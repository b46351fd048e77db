"""Where old rows come from: a PostgreSQL database, or a folder of dumps, one file a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Position = str  # how far a walk came, as the source understands it; '' is the beginning


@dataclass(frozen=True)
class OldTable:
    """A table as it was found. `rows` is an estimate where counting would cost too much."""

    name: str
    columns: frozenset[str]
    rows: int


class Source(Protocol):
    """A place with old tables."""

    name: str

    async def tables(self) -> Mapping[str, OldTable]:
        """Return the tables there are, by name."""
        ...

    async def read(
        self, table: str, key: Sequence[str], after: Position, limit: int
    ) -> list[tuple[Position, Mapping[str, Any]]]:
        """Return up to `limit` rows behind that position, each with its own; fewer at the end only."""
        ...
