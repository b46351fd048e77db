"""Typed keys under which one plugin offers a service and another finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceKey(Generic[T]):
    """Names a service and carries its type: `ctx.services.get(KEY)` returns a `T`."""

    name: str

    def __str__(self) -> str:
        return self.name
