"""Tells what went wrong with a commit: the database is away, it was a collision, or a row is at fault."""

from __future__ import annotations

import traceback
from pathlib import PurePath

import trio

from ..errors import DatabaseUnavailable, StatementTimeout

# SQLSTATE classes and codes that say "not now" about the server, whatever was sent to it.
_OUTAGE_CLASSES = frozenset({"08", "53", "57", "58"})  # connection, resources, shut down or cancelled, system
_OUTAGE_CODES = frozenset({"25006", "55P03"})  # read-only (a primary that has become a replica), lock timeout
_COLLISION_CLASS = "40"  # serialization failure, deadlock: the same again may well succeed


def sole_cause(error: Exception) -> Exception:
    """Return the one exception inside nested groups of one, or the error itself."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def is_outage(error: Exception) -> bool:
    """Whether the database is away or refuses work: nothing is wrong with the rows."""
    if isinstance(error, DatabaseUnavailable | StatementTimeout | OSError | trio.TooSlowError):
        return True
    state = _sqlstate(error)
    return state[:2] in _OUTAGE_CLASSES or state in _OUTAGE_CODES


def is_collision(error: Exception) -> bool:
    """Whether another transaction was in the way."""
    return _sqlstate(error)[:2] == _COLLISION_CLASS


def describe(error: Exception) -> str:
    """Return what kind of failure it was and where, without its message: that may quote stored values."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    state = _sqlstate(error)
    return type(error).__name__ + (f" {state}" if state else "") + place


def _sqlstate(error: Exception) -> str:
    state = getattr(error, "sqlstate", None)  # as asyncpg and most other drivers call it
    return state if isinstance(state, str) else ""
