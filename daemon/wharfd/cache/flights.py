"""Single flight: of all who miss the same value at the same time, one fetches it and the others wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import trio


@dataclass(eq=False)
class Flight:
    """One fetch under way. `stale` is set when a tag of it was invalidated meanwhile."""

    tags: frozenset[str]
    landed: trio.Event = field(default_factory=trio.Event)
    data: bytes | None = None
    error: Exception | None = None
    abandoned: bool = False
    stale: bool = False


class Flights:
    """All fetches under way, by digest. A stale one is no longer joined: later callers start anew."""

    def __init__(self) -> None:
        self._joinable: dict[bytes, Flight] = {}
        self._flying: set[Flight] = set()

    def join(self, digest: bytes) -> Flight | None:
        """Return the flight to wait for, or None."""
        return self._joinable.get(digest)

    def start(self, digest: bytes, tags: Iterable[str]) -> Flight:
        """Begin a flight that others may join."""
        flight = Flight(frozenset(tags))
        self._joinable[digest] = flight
        self._flying.add(flight)
        return flight

    def land(self, digest: bytes, flight: Flight) -> None:
        """End a flight, whatever became of it, and wake those who wait."""
        self._flying.discard(flight)
        if self._joinable.get(digest) is flight:
            del self._joinable[digest]
        flight.landed.set()

    def overtake(self, tags: Iterable[str] | None) -> None:
        """Mark the flights with one of the tags (None: all) as stale."""
        wanted = None if tags is None else frozenset(tags)
        for flight in self._flying:
            if wanted is None or flight.tags & wanted:
                flight.stale = True
        self._joinable = {digest: flight for digest, flight in self._joinable.items() if not flight.stale}
