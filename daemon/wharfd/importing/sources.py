"""Where old rows come from: a PostgreSQL database, or a folder of dumps, one file a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..db import Bridge

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


@asynccontextmanager
async def open_source(bridge: Bridge, where: str, schema: str = "public") -> AsyncIterator[Source]:
    """Open a database by URL or a folder by path, for reading alone.

    Raises `DatabaseUnavailable` or `SourceError`, each a sentence.
    """
    from .files import DumpFolder
    from .postgres import open_postgres

    if where.startswith(("postgresql://", "postgres://")):
        async with open_postgres(bridge, where, schema) as source:
            yield source
    else:
        yield DumpFolder(Path(where))
