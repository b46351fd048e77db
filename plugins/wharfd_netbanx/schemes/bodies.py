"""Reading the little that a verifier needs out of a JSON body, whatever the body is."""

from __future__ import annotations

from typing import Any

import msgspec

# Everything that decoding foreign bytes can raise; RecursionError is deep nesting.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# An id longer than this is not an id.
MAX_EVENT_ID = 255


class EventId:
    """Finds the provider's event id at a path of keys, skipping over the rest without building it."""

    __slots__ = ("_decoder", "_path")

    def __init__(self, path: tuple[str, ...]) -> None:
        kind: Any = str | int | None
        for name in reversed(path):
            # Fields are renamed because a provider's key need not be a Python name.
            kind = msgspec.defstruct("Part", [("value", kind | None, None)], rename={"value": name})
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, body: bytes) -> str | None:
        """Return the id as text, or None when the body has none that can be used."""
        try:
            found: Any = self._decoder.decode(body)
        except UNREADABLE:
            return None
        for _ in self._path:
            if found is None:
                return None
            found = found.value
        if found is None or found == "":
            return None
        text = str(found)
        return text if len(text) <= MAX_EVENT_ID else None
