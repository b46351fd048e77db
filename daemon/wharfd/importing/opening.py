"""Opening a source by what it is called: a URL or a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..db import Bridge
from .files import DumpFolder
from .postgres import open_postgres
from .sources import Source


@asynccontextmanager
async def open_source(bridge: Bridge, where: str, schema: str = "public") -> AsyncIterator[Source]:
    """Open a database by URL or a folder by path, for reading alone.

    Raises `DatabaseUnavailable` or `SourceError`, each a sentence.
    """
    if where.startswith(("postgresql://", "postgres://")):
        async with open_postgres(bridge, where, schema) as source:
            yield source
    else:
        yield DumpFolder(Path(where))
