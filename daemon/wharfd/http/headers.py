"""Header fields as a handler sees them, and how our own are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

# Fields whose values are secrets or close to it; they never appear in a repr.
_SECRET = frozenset(
    {"authorization", "cookie", "set-cookie", "x-api-key", "x-csrf-token", "proxy-authorization"}
)


_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_BREAK = re.compile(r"[\r\n\0]")


class Headers(Mapping[str, str]):
    """The request's header fields, found whatever their case; a field sent twice is joined with a comma."""

    __slots__ = ("_fields", "raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.raw = tuple(raw)
        self._fields: dict[str, str] | None = None

    @property
    def _by_name(self) -> dict[str, str]:
        if self._fields is None:
            fields: dict[str, str] = {}
            for raw_name, raw_value in self.raw:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
                if name in fields:
                    value = f"{fields[name]}{'; ' if name == 'cookie' else ', '}{value}"
                fields[name] = value
            self._fields = fields
        return self._fields

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        shown = {name: "…" if name in _SECRET else value for name, value in self._by_name.items()}
        return f"Headers({shown})"

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Headers:
        """Make headers from plain text, as a test does."""
        return cls([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()])


def checked_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Fields that a handler gave, names in lower case; `ValueError` for what cannot stand in a field."""
    for name, value in fields.items():
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not the name of a header field")
        if _BREAK.search(value):
            raise ValueError(f"the value of the header field {name} holds a line break or a zero byte")
    return {name.lower(): value for name, value in fields.items()}


def wire_fields(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Fields as bytes; what Latin-1 does not have becomes a question mark."""
    return [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in fields.items()]
