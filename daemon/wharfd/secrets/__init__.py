"""Secrets: the value that hides itself, and where it is read from.

Settings need no more. What seals and unseals lies in `vault`, `keys` and `keyfile`: their cryptography is
loaded by those who use it, not by every command.
"""

from __future__ import annotations

from .sources import SecretReading, read_secret, resolve_secret
from .value import Secret

__all__ = ["Secret", "SecretReading", "read_secret", "resolve_secret"]
