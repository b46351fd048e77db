"""PostgreSQL for wharfd: pool, transactions, migrations, partitions, upkeep; and the bridge to asyncio."""

from __future__ import annotations

from asyncpg import Record

from .bridge import Bridge, current_bridge, open_bridge, run_asyncio
from .database import Database, open_database
from .queries import Queries
from .settings import DatabaseSettings
from .statements import Statement, quoted, sql
from .statistics import DatabaseStatistics
from .transaction import Transaction

__all__ = [
    "Bridge",
    "Database",
    "DatabaseSettings",
    "DatabaseStatistics",
    "Queries",
    "Record",
    "Statement",
    "Transaction",
    "current_bridge",
    "open_bridge",
    "open_database",
    "quoted",
    "run_asyncio",
    "sql",
]
