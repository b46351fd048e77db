"""The first level: values in this process, bounded by count and bytes, least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

_OVERHEAD = 400  # what an entry costs besides its data, roughly


@dataclass(frozen=True, slots=True)
class Entry:
    """An encoded value and how long it may be used."""

    data: bytes
    stored_at: float
    expires_at: float
    tags: tuple[str, ...]


class LocalLevel:
    """An LRU of encoded values with an index by tag."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._by_tag: dict[str, set[bytes]] = {}
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Entry | None:
        """Return an entry, expired or not."""
        entry = self._entries.get(digest)
        if entry is not None:
            self._entries.move_to_end(digest)
        return entry

    def put(self, digest: bytes, entry: Entry) -> None:
        """Keep an entry; older ones make room."""
        self.remove(digest)
        self._entries[digest] = entry
        self.bytes += len(entry.data) + _OVERHEAD
        for tag in entry.tags:
            self._by_tag.setdefault(tag, set()).add(digest)
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            self.remove(next(iter(self._entries)))
            self.evicted += 1

    def remove(self, digest: bytes) -> None:
        """Drop an entry, if it is there."""
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        self.bytes -= len(entry.data) + _OVERHEAD
        for tag in entry.tags:
            members = self._by_tag[tag]
            members.discard(digest)
            if not members:
                del self._by_tag[tag]

    def remove_tags(self, tags: Iterable[str]) -> None:
        """Drop every entry that has one of the tags."""
        for tag in tags:
            for digest in tuple(self._by_tag.get(tag, ())):
                self.remove(digest)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._by_tag.clear()
        self.bytes = 0
