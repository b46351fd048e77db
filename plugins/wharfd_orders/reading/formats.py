"""Which format a Content-Type names, and which encoding a file is in."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from .parsed import Malformed

Format = Literal["csv", "jsonl", "json"]

_TYPES: dict[str, Format] = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "jsonl",
    "application/ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
    "application/jsonlines": "jsonl",
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/vnd.ms-excel": "csv",  # what a browser on Windows calls a .csv
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_KNOWN = {name: name for name in ("utf-8", "utf-16", "utf-16-le", "utf-16-be")} | {
    "iso8859-1": "iso-8859-1",
    "iso8859-15": "iso-8859-15",
    "cp1252": "windows-1252",
    "ascii": "utf-8",
}


def format_of(content_type: str | None) -> tuple[Format | None, str | None]:
    """Return the format and the charset that a Content-Type names; None for what is not taken.

    Without a Content-Type it is JSON, as old callers send it.
    """
    if not content_type:
        return "json", None
    kind, _, rest = content_type.partition(";")
    charset = re.search(r'charset\s*=\s*"?([A-Za-z0-9_.:-]{1,40})', rest, re.IGNORECASE)
    return _TYPES.get(kind.strip().lower()), charset[1] if charset else None


def check_charset(charset: str) -> str:
    """Return the name of a charset that is taken, as it is registered; raises `Malformed`."""
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        name = ""
    if name not in _KNOWN:
        raise Malformed("charset", f"the charset {charset} is not taken; send UTF-8, UTF-16 or Windows-1252")
    return _KNOWN[name]


def detect_encoding(sample: bytes, charset: str | None) -> tuple[str, int]:
    """Return the encoding and how many bytes its mark takes.

    A byte order mark decides, then the charset the caller gave. Without either it is UTF-8, unless the sample
    is not and holds no UTF-8 beyond ASCII at all: then it is Windows-1252. A sample with both is UTF-8 with
    broken rows, because guessing would garble the others.
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name, len(mark)
    if charset is not None:
        return check_charset(charset), 0
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(sample)
    except UnicodeDecodeError:
        return ("utf-8", 0) if _MULTIBYTE.search(sample) else ("windows-1252", 0)
    return "utf-8", 0
