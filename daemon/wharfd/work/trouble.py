"""What may go wrong with any statement at any time: logged and tried again, it never ends the engine."""

from __future__ import annotations

import asyncpg

from ..errors import DatabaseUnavailable, StatementTimeout

DATABASE_TROUBLE = (DatabaseUnavailable, StatementTimeout, asyncpg.PostgresError, asyncpg.InterfaceError)
