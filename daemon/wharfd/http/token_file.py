"""A token kept in a file: made once, readable by its owner alone, read again when it was replaced."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

import structlog

_SHORTEST = 32
_LARGEST_FILE = 4096


class TokenFile:
    """One token in one file. Without the file, or with a token under 32 characters, nothing matches."""

    def __init__(self, path: Path, log: structlog.stdlib.BoundLogger) -> None:
        self.path = path
        self._log = log
        self._version: tuple[int, int, int] | None = None
        self._digest: bytes | None = None

    def create(self, prefix: str) -> bool:
        """Make the file with a fresh token, mode 0600, unless there is one; returns whether it was made."""
        if self.path.exists() and self.path.stat().st_size > 0:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{prefix}_{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        return True

    def matches(self, token: str) -> bool:
        """Whether this is the token, compared in constant time."""
        current = self.fingerprint()
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        return current is not None and hmac.compare_digest(current, given)

    def fingerprint(self) -> bytes | None:
        """A hash of the present token, None when there is none; changes when the file is replaced."""
        try:
            found = self.path.stat()
        except OSError:
            self._version = self._digest = None
            return None
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._version:
            self._digest = self._read(found)
            self._version = version
        return self._digest

    def _read(self, found: os.stat_result) -> bytes | None:
        if stat.S_IMODE(found.st_mode) & 0o077:
            self._log.warning("token_file_open_to_others", path=str(self.path), fix=f"chmod 600 {self.path}")
        try:
            with self.path.open("rb") as file:
                token = file.read(_LARGEST_FILE).strip()
        except OSError as error:
            self._log.error("token_file_unreadable", path=str(self.path), reason=error.strerror)
            return None
        if len(token) < _SHORTEST:
            self._log.error("token_too_short", path=str(self.path), shortest=_SHORTEST)
            return None
        return hashlib.sha256(token).digest()
