"""What a plugin offers to another and needs of it, by typed key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..contracts.services import ServiceKey


@dataclass(frozen=True)
class Provides:
    """This plugin offers a service. `factory(ctx)` is called once, after `provision` succeeded."""

    key: ServiceKey[Any]
    factory: Callable[..., Any]


@dataclass(frozen=True)
class Requires:
    """This plugin uses another's service and starts after it. Optional: works without it too."""

    key: ServiceKey[Any]
    optional: bool = False
