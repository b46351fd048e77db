"""Takes secrets out of what is about to be logged or kept: by the name of the field, and out of URLs.

The result is plain data (text, numbers, lists, dicts) of bounded size, whatever went in. A `Secret` needs no
help from here: it hides itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

HIDDEN = "**redacted**"
MAX_TEXT = 8 * 1024
MAX_ITEMS = 100
MAX_DEPTH = 6


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORDS = _words(
    "secret secrets password passwords passwd pwd passphrase token tokens authorization signature signatures "
    "cookie cookies credential credentials apikey key keys bearer mnemonic seed otp"
)
# `secret_name`, `token_count`, `key_file`: about a secret, not the secret.
_PUBLIC_ENDINGS = _words(
    "id ids name names kind type count at file path seconds bytes length total version state status scheme "
    "algorithm column columns purpose"
)
# `row_key`, `cache_key`: a key that identifies, not one that opens.
_IDENTIFYING = _words(
    "row cache job dedup primary foreign public partition lock unique sort fair group route limit ordering "
    "idempotency"
)
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@]{0,256}):[^\s/]{1,1024}@")
_BEARER = re.compile(r"\b([Bb]earer)\s+[A-Za-z0-9._~+/=-]{16,}")


@lru_cache(maxsize=2048)
def names_a_secret(name: str) -> bool:
    """Say whether a field of that name holds a secret; doubtful names do."""
    words = [word.lower() for word in _WORD_BREAK.split(name[:200]) if word]
    if not _SECRET_WORDS.intersection(words) and not _SECRET_WORDS.intersection(["".join(words)]):
        return False
    if words[-1] in _PUBLIC_ENDINGS:
        return False
    return not (len(words) > 1 and words[-1] in ("key", "keys") and words[-2] in _IDENTIFYING)


def redact_fields(fields: Mapping[Any, Any], *, depth: int = 0) -> dict[str, Any]:
    """Return the fields as plain data, those that are named like a secret hidden."""
    plain: dict[str, Any] = {}
    for index, (key, value) in enumerate(fields.items()):
        if index == MAX_ITEMS:
            plain["…"] = f"{len(fields) - MAX_ITEMS} more"
            break
        name = key if type(key) is str else _text_of(key)
        plain[name[:200] if name.isascii() else redact_text(name, limit=200)] = _hidden_or_plain(
            name, value, depth
        )
    return plain


def redact_value(value: Any, *, depth: int = 0) -> Any:
    """Return the value as plain data of bounded size; text loses the passwords of URLs and bearer tokens."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return redact_text(str.__str__(value))
    if isinstance(value, int):
        # JSON here ends at 64 bits; wei amounts do not.
        return int(value) if -(1 << 63) <= value < 1 << 64 else redact_text(int.__repr__(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return redact_fields(value, depth=depth + 1)
    if isinstance(value, (list, tuple, set, frozenset)):
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, bytes)):
            # A header or query pair: its first half names the second.
            name = _text_of(value[0])
            return [redact_text(name), _hidden_or_plain(name, value[1], depth)]
        items = [
            redact_value(item, depth=depth + 1) for item, _ in zip(value, range(MAX_ITEMS), strict=False)
        ]
        return items if len(value) <= MAX_ITEMS else [*items, f"… {len(value) - MAX_ITEMS} more"]
    return redact_text(_text_of(value))


def redact_text(text: str, *, limit: int = MAX_TEXT) -> str:
    """Return the text without URL passwords and bearer tokens, cut at `limit` characters."""
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text) - limit} more characters)"
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    if "earer" in text:
        text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    if not text.isascii():
        # A lone surrogate (a file name, a broken header) cannot be written as UTF-8.
        text = text.encode("utf-8", "backslashreplace").decode()
    return text


def _hidden_or_plain(name: str, value: Any, depth: int) -> Any:
    # True, False and None tell whether there is a secret, never which.
    if names_a_secret(name) and not (value is None or value is True or value is False):
        return HIDDEN
    return redact_value(value, depth=depth)


def _text_of(value: object) -> str:
    """Put any object into words; one that cannot be printed must not stop a log line."""
    try:
        if isinstance(value, bytes):
            return value[:200].decode("latin-1")
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        # An object that defines how it reads as text (a path, an address, an id) is meant to be read so.
        return str(value)
    except Exception as exc:
        return f"<{type(value).__name__} that cannot be printed: {type(exc).__name__}>"
