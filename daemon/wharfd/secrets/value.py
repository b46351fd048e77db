"""`Secret`: a value that prints as stars. What it is sealed with, and where it comes from, live elsewhere."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NoReturn, final

from ..errors import SecretError, SecretUnreadable

REDACTED = "**redacted**"


@final
class Secret:
    """A password, token or key. It shows itself only to `reveal()`.

    `repr`, `str`, `format` and f-strings give stars; pickling is refused, and so is turning it into JSON.
    Two secrets compare in constant time. The value cannot be changed, so a copy is the same object.
    """

    __slots__ = ("_unread", "_value")
    _value: bytes
    _unread: SecretUnreadable | None

    def __init__(self, value: str | bytes) -> None:
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
        object.__setattr__(self, "_value", raw)
        object.__setattr__(self, "_unread", None)

    @classmethod
    def unread(cls, why: SecretUnreadable) -> Secret:
        """Return one whose value cannot be read here; who asks for it gets `why` raised."""
        secret = cls(b"")
        object.__setattr__(secret, "_unread", why)
        return secret

    def reveal(self) -> str:
        """Return the value as text. Call it where the value is used, and keep the result nowhere."""
        try:
            return self.reveal_bytes().decode("utf-8")
        except UnicodeDecodeError:
            # `from None`: the original error carries the value itself.
            raise SecretError("the secret is not UTF-8 text; use reveal_bytes() to get its bytes") from None

    def reveal_bytes(self) -> bytes:
        """Return the value as bytes, for a key that is not text."""
        if self._unread is not None:
            raise SecretUnreadable(self._unread.what, self._unread.hint)
        return self._value

    def matches(self, candidate: str | bytes) -> bool:
        """Say whether `candidate` is the value, in a time that tells nothing about either."""
        raw = candidate.encode("utf-8", "surrogateescape") if isinstance(candidate, str) else candidate
        # Digests have one length, so not even the length of the secret shows in the time.
        return hmac.compare_digest(hashlib.sha256(raw).digest(), hashlib.sha256(self.reveal_bytes()).digest())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if self._unread or other._unread:
            return self is other
        return self.matches(other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value) or self._unread is not None

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; hand on where it comes from instead")
