"""What log events are given before they are written: an exception as one field, a limit on repeats."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from .redaction import redact_text

_MAX_FRAMES = 40
_MAX_MESSAGE = 2000
_MAX_CHAIN = 4
_MAX_GROUP = 10
_MAX_REPEATS = 1000

EVERY = "_every_seconds"


def every(seconds: float) -> dict[str, Any]:
    """Log a repeated event at most once in `seconds`: `log.warning("redis_away", host=h, **every(30))`.

    Events count as repeats when phrase and plugin are the same. The next one that is logged carries
    `suppressed`, the number that was held back.
    """
    return {EVERY: seconds}


class Repeats:
    """Holds back events that repeat too soon."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def admit(self, event: str, plugin: str, seconds: float) -> int | None:
        """Return how many were held back before this one, or None when this one is to be held back."""
        now, key = self._clock(), (event, plugin)
        with self._lock:
            last, held = self._seen.get(key, (None, 0))
            if last is not None and now - last < seconds:
                self._seen[key] = (last, held + 1)
                return None
            # Re-inserted at the end: the first key is always the one that has been quiet the longest.
            self._seen.pop(key, None)
            self._seen[key] = (now, 0)
            if len(self._seen) > _MAX_REPEATS:
                del self._seen[next(iter(self._seen))]
            return held


def describe_exception(error: BaseException, *, depth: int = 0) -> dict[str, Any]:
    """Return an exception as one structured field: type, message, frames, notes, cause, members of a group.

    Local variables are left out on purpose: they hold secrets and bodies.
    """
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    described: dict[str, Any] = {"type": module + kind.__qualname__, "message": _message(error)}
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), lookup_lines=False, capture_locals=False
    )
    described["frames"] = [f"{f.filename}:{f.lineno} in {f.name}" for f in frames[-_MAX_FRAMES:]]
    if notes := getattr(error, "__notes__", None):
        described["notes"] = [redact_text(str(note), limit=_MAX_MESSAGE) for note in notes[:_MAX_GROUP]]
    if depth >= _MAX_CHAIN:
        return described
    if isinstance(error, BaseExceptionGroup):
        members = error.exceptions[:_MAX_GROUP]
        described["exceptions"] = [describe_exception(member, depth=depth + 1) for member in members]
    if error.__cause__ is not None:
        described["cause"] = describe_exception(error.__cause__, depth=depth + 1)
    elif error.__context__ is not None and not error.__suppress_context__:
        described["context"] = describe_exception(error.__context__, depth=depth + 1)
    return described


def _message(error: BaseException) -> str:
    try:
        return redact_text(str(error), limit=_MAX_MESSAGE)
    except Exception as exc:
        return f"<message that cannot be printed: {type(exc).__name__}>"
