"""A latency histogram: every value is kept to within one percent, in little memory, and histograms add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_BITS = 7  # 128 steps between a power of two and the next: each is below 0.8 % of its value
_STEPS = 1 << _BITS


def _slot(microseconds: int) -> int:
    power = max(0, microseconds.bit_length() - _BITS - 1)
    return (power << _BITS) + (microseconds >> power)


def _value(slot: int) -> int:
    """The highest value that falls into a slot: percentiles are never shown too low."""
    power = max(0, (slot >> _BITS) - 1)
    return (((slot - (power << _BITS)) + 1) << power) - 1


class Histogram:
    """Counts durations, given in seconds. `maximum` is exact."""

    def __init__(self, slots: Iterable[tuple[int, int]] = (), maximum: float = 0.0) -> None:
        self._slots: Counter[int] = Counter(dict(slots))
        self.count = sum(self._slots.values())
        self.maximum = maximum

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._slots[_slot(int(max(0.0, seconds) * 1e6))] += 1
        self.count += 1
        self.maximum = max(self.maximum, seconds)

    def merge(self, other: Histogram) -> None:
        """Count everything another one has counted."""
        self._slots.update(other._slots)
        self.count += other.count
        self.maximum = max(self.maximum, other.maximum)

    def slots(self) -> list[tuple[int, int]]:
        """What was counted, to be sent and given to the constructor again."""
        return sorted(self._slots.items())

    def percentile(self, share: float) -> float:
        """Return the seconds that so large a share (0 to 1) stayed within; 0 when nothing was counted."""
        if self.count == 0:
            return 0.0
        wanted, seen = share * self.count, 0
        for slot, count in sorted(self._slots.items()):
            seen += count
            if seen >= wanted:
                return min(_value(slot) / 1e6, self.maximum)
        return self.maximum
