"""How declarations check themselves, and the names they allow."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[..., Awaitable[Any]]

NAME = re.compile(r"^[a-z][a-z0-9_]*$")
TABLE = re.compile(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
PATTERN = re.compile(r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$")
SCOPE = re.compile(r"^[a-z_]+:[a-z_*]+$")


def check(condition: bool, declaration: object, message: str) -> None:
    """Raise ValueError with the declaration's class and the message unless the condition holds."""
    if not condition:
        raise ValueError(f"{type(declaration).__name__}: {message}")
