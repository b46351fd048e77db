"""A request that is refused for its form, before any plugin has seen it."""

from __future__ import annotations


class Refused(Exception):
    """The request is answered with `status` and the reason, and the connection is closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
