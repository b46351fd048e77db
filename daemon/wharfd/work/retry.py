"""When failed work is tried again, and how its failure is put into words. Pure functions."""

from __future__ import annotations

import random

from ..declare import Retry

_MAX_ERROR = 2000  # characters of last_error; the whole story belongs into the log


def spread(seconds: float, jitter: float) -> float:
    """Return the time moved by up to ±`jitter` of itself, so that what failed together does not return so."""
    return seconds * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311  no secret depends on it


def delay_seconds(retry: Retry, attempt: int) -> float:
    """Return how long to wait after the given failed attempt (1, 2 …)."""
    return spread(retry.delays[min(max(attempt, 1), len(retry.delays)) - 1], retry.jitter)


def told(error: BaseException | str) -> str:
    """Return `Type: message`, short, and without what a text column cannot hold."""
    if isinstance(error, str):
        text = error
    else:
        try:
            text = f"{type(error).__name__}: {error}".removesuffix(": ")
        except Exception:
            text = f"{type(error).__name__}: its message cannot be shown"
    text = text.replace("\x00", "�").encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_ERROR else text[: _MAX_ERROR - 1] + "…"
