"""How an API key is written: `whk_live_<short>_<secret><checksum>`.

The short id (10 characters, base 32) is public: it finds the row and stands in logs. The secret (43
characters, base 62) holds 256 random bits. The checksum (6 characters, base 62) is the CRC-32 of everything
before it, so a mistyped or cut key is recognised, here and by secret scanners, without asking anybody. It
proves nothing else.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["live", "test"]

PREFIX = "whk_"
SECRET_PREFIX = "whs_"  # noqa: S105 -- the public beginning of every such secret
LONGEST = 80

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_DIGITS = 10
_SECRET_DIGITS = 43  # 62**43 > 2**256
_SUM_DIGITS = 6  # 62**6 > 2**32
_KEY = re.compile(
    rf"(whk_(live|test)_([{_BASE32}]{{{_SHORT_DIGITS}}})_([0-9A-Za-z]{{{_SECRET_DIGITS}}}))"
    rf"([0-9A-Za-z]{{{_SUM_DIGITS}}})"
)
_PUBLIC = re.compile(rf"whk_(live|test)_([{_BASE32}]{{{_SHORT_DIGITS}}})")


@dataclass(frozen=True)
class KeyText:
    """A well-formed key. `text` is the whole of it and is shown to nobody but its maker."""

    mode: Mode
    short: str
    text: str = field(repr=False)

    @property
    def public(self) -> str:
        """The part that may be shown: `whk_live_<short>`."""
        return public_part(self.mode, self.short)


def make_key(mode: Mode) -> KeyText:
    """Make a new random key."""
    short = _digits(int.from_bytes(os.urandom(7)) >> 6, _BASE32, _SHORT_DIGITS)
    secret = _digits(int.from_bytes(os.urandom(32)), _BASE62, _SECRET_DIGITS)
    body = f"{public_part(mode, short)}_{secret}"
    return KeyText(mode, short, body + checksum(body))


def parse_key(text: str) -> KeyText | None:
    """Read a key; None when it is not written like one or its checksum does not fit."""
    match = _KEY.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or checksum(match[1]) != match[5]:
        return None
    return KeyText("live" if match[2] == "live" else "test", match[3], text)


def parse_public(text: str) -> tuple[Mode, str] | None:
    """Read the public part of a key, `whk_live_<short>`: its mode and short id."""
    match = _PUBLIC.fullmatch(text)
    return None if match is None else ("live" if match[1] == "live" else "test", match[2])


def public_part(mode: Mode, short: str) -> str:
    """The part of a key that may be shown."""
    return f"{PREFIX}{mode}_{short}"


def make_secret() -> str:
    """Make the secret that goes with an integration's key, 256 bits: `whs_…`."""
    return SECRET_PREFIX + _digits(int.from_bytes(os.urandom(32)), _BASE62, _SECRET_DIGITS)


def checksum(body: str) -> str:
    """The checksum of the part of a key before it."""
    return _digits(zlib.crc32(body.encode()), _BASE62, _SUM_DIGITS)


def _digits(number: int, alphabet: str, count: int) -> str:
    found = []
    for _ in range(count):
        number, digit = divmod(number, len(alphabet))
        found.append(alphabet[digit])
    return "".join(reversed(found))
