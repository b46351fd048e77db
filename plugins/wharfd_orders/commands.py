"""`wharfd orders …`."""

from __future__ import annotations

from wharfd import Command

COMMANDS: list[Command] = []
