"""The pytest plugin: fixtures for wharfd's own suite and for plugin authors."""

from __future__ import annotations

from .postgres import postgres

__all__ = ["postgres"]
