"""Mergeable summaries of many values: count, sum, min, max and quantiles within 1 % of the true ones. Pure.

A value falls into the bucket of its logarithm, wide enough that any two values in one bucket differ from its
middle by at most 1 % (the idea of DDSketch). Adding two sketches adds their buckets, so a day is exactly the
sum of its hours, in any order. The error bound holds for the value at rank ⌊q·(n−1)⌋ as long as a sketch has
at most `MOST_BUCKETS` buckets per sign, which spans 17 decimal orders of magnitude; beyond that the values
closest to zero lose it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

RELATIVE_ERROR = 0.01
MOST_BUCKETS = 2048
SMALLEST = 1e-300  # closer to zero counts as zero

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / math.log(_GAMMA)
_MIDDLE = 2 / (1 + _GAMMA)


class Buckets(msgspec.Struct, array_like=True):
    """Counts by bucket, for values above and below zero (by their size), and at zero."""

    above: dict[int, int] = {}
    below: dict[int, int] = {}
    zero: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Buckets)


def bucket_of(size: float) -> int:
    """Return the bucket of a value above zero."""
    return math.ceil(math.log(size) * _PER_LOG)


def middle_of(bucket: int) -> float:
    """Return the value that stands for a bucket, within 1 % of everything in it."""
    return math.exp(bucket / _PER_LOG) * _MIDDLE


class Summary:
    """What is known of a set of values; `add` and `merge` change it."""

    __slots__ = ("buckets", "count", "max", "min", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.buckets = Buckets()

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Return the summary of some finite values."""
        summary = cls()
        summary.extend(values)
        return summary

    @classmethod
    def stored(cls, count: int, total: float, low: float, high: float, sketch: bytes) -> Summary:
        """Return a summary as it was stored."""
        summary = cls()
        summary.count, summary.sum, summary.min, summary.max = count, total, low, high
        summary.buckets = _decoder.decode(sketch)
        return summary

    def add(self, value: float) -> None:
        """Add one finite value."""
        self.count += 1
        self.sum += value
        self.min = min(self.min, value)
        self.max = max(self.max, value)
        buckets = self.buckets
        if -SMALLEST < value < SMALLEST:
            buckets.zero += 1
            return
        side = buckets.above if value > 0 else buckets.below
        bucket = bucket_of(abs(value))
        side[bucket] = side.get(bucket, 0) + 1
        if len(side) > MOST_BUCKETS:
            _collapse(side)

    def extend(self, values: Iterable[float]) -> None:
        """Add many finite values; the same as adding each, in less time."""
        numbers = values if isinstance(values, list) else list(values)
        if not numbers:
            return
        self.count += len(numbers)
        self.sum += sum(numbers)
        self.min = min(self.min, *numbers)
        self.max = max(self.max, *numbers)
        above, below, ceil, log = self.buckets.above, self.buckets.below, math.ceil, math.log
        for number in numbers:
            if number >= SMALLEST:
                bucket = ceil(log(number) * _PER_LOG)
                above[bucket] = above.get(bucket, 0) + 1
            elif number <= -SMALLEST:
                bucket = ceil(log(-number) * _PER_LOG)
                below[bucket] = below.get(bucket, 0) + 1
            else:
                self.buckets.zero += 1
        for side in (above, below):
            if len(side) > MOST_BUCKETS:
                _collapse(side)

    def merge(self, other: Summary) -> None:
        """Add everything another summary has seen."""
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.buckets.zero += other.buckets.zero
        for mine, theirs in (
            (self.buckets.above, other.buckets.above),
            (self.buckets.below, other.buckets.below),
        ):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count
            if len(mine) > MOST_BUCKETS:
                _collapse(mine)

    def quantile(self, share: float) -> float:
        """Return the value below which that share of the values lies, within 1 % of it.

        Raises ValueError for a summary of nothing.
        """
        if not self.count:
            raise ValueError("nothing has no quantiles")
        rank = math.floor(share * (self.count - 1))
        if rank <= 0:
            return self.min
        if rank >= self.count - 1:
            return self.max
        return min(self.max, max(self.min, self._at(rank)))

    def _at(self, rank: int) -> float:
        seen = 0
        for bucket in sorted(self.buckets.below, reverse=True):
            seen += self.buckets.below[bucket]
            if seen > rank:
                return -middle_of(bucket)
        seen += self.buckets.zero
        if seen > rank:
            return 0.0
        for bucket in sorted(self.buckets.above):
            seen += self.buckets.above[bucket]
            if seen > rank:
                return middle_of(bucket)
        return self.max

    def sketch(self) -> bytes:
        """Return the buckets as bytes."""
        return _encoder.encode(self.buckets)


def _collapse(side: dict[int, int]) -> None:
    """Merge the buckets closest to zero until there are few enough."""
    ordered = sorted(side)
    extra = ordered[: len(side) - MOST_BUCKETS]
    target = ordered[len(extra)]
    for bucket in extra:
        side[target] += side.pop(bucket)
