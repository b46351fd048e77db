"""Lua scripts for Redis, which stand where they are used."""

from __future__ import annotations

import hashlib


class Script:
    """A Lua script, known to the server by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
