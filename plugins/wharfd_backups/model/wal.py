"""Write-ahead log positions, the names of its files, timelines, and where files are missing."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence

import msgspec

SEGMENT_BYTES = 16 << 20
_SEGMENT = re.compile(r"^[0-9A-F]{24}$")
_HISTORY = re.compile(r"^([0-9A-F]{8})\.history$")
_LSN = re.compile(r"^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")
_HEADER = struct.Struct("<HHIQIIQII")  # XLogLongPageHeaderData: the first page of every file
_LONG_HEADER = 0x0002


def lsn_of(text: str) -> int:
    """Return the number of a position such as `0/3000060`; raises ValueError."""
    if not _LSN.match(text):
        raise ValueError(f"{text!r} is no position in the write-ahead log; one looks like 0/3000060")
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def lsn_text(lsn: int) -> str:
    """Return a position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


class Segment(msgspec.Struct, frozen=True, order=True):
    """One file of the write-ahead log: the `number`th of its size on a timeline."""

    timeline: int
    number: int
    size: int = SEGMENT_BYTES

    @property
    def name(self) -> str:
        """The file's name."""
        per_log = (1 << 32) // self.size
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"

    @property
    def start(self) -> int:
        """The first position in it."""
        return self.number * self.size

    @property
    def end(self) -> int:
        """The first position after it."""
        return self.start + self.size

    def next(self) -> Segment:
        """Return the file after it."""
        return Segment(self.timeline, self.number + 1, self.size)


def is_segment(name: str) -> bool:
    """Tell whether a name is that of a whole file of the write-ahead log."""
    return bool(_SEGMENT.match(name))


def is_history(name: str) -> bool:
    """Tell whether a name is that of a timeline's history."""
    return bool(_HISTORY.match(name))


def segment_named(name: str, size: int = SEGMENT_BYTES) -> Segment:
    """Return the file of that name; raises ValueError."""
    if not is_segment(name):
        raise ValueError(f"{name!r} is no name of a write-ahead log file")
    timeline, log, rest = (int(name[at : at + 8], 16) for at in (0, 8, 16))
    per_log = (1 << 32) // size
    if rest >= per_log:
        raise ValueError(f"{name!r} is no name of a write-ahead log file of {size} bytes")
    return Segment(timeline, log * per_log + rest, size)


def segment_at(lsn: int, timeline: int, size: int = SEGMENT_BYTES) -> Segment:
    """Return the file that holds a position."""
    return Segment(timeline, lsn // size, size)


def header_fits(first_bytes: bytes, name: str, system: str | None, size: int = SEGMENT_BYTES) -> bool:
    """Tell whether a file begins as the one of that name does: timeline, position, cluster, size."""
    if len(first_bytes) < _HEADER.size:
        return False
    _, info, timeline, page, _, _, cluster, segment_size, _ = _HEADER.unpack_from(first_bytes)
    segment = segment_named(name, size)
    return (
        bool(info & _LONG_HEADER)
        and timeline <= segment.timeline  # a file copied over from the parent timeline keeps its pages
        and page == segment.start
        and segment_size == size
        and system in (None, str(cluster))
    )


class Switch(msgspec.Struct, frozen=True):
    """A timeline ended at `lsn` and another went on from there."""

    timeline: int
    lsn: int


def read_history(text: str) -> list[Switch]:
    """Return the timelines a `.history` file tells of, oldest first; raises ValueError."""
    switches = []
    for line in text.splitlines():
        words = line.split("#")[0].split(None, 2)
        if words:
            switches.append(Switch(int(words[0]), lsn_of(words[1])))
    return switches


def path_to(timeline: int, start: int, last: Segment, histories: Mapping[int, str]) -> list[Segment]:
    """Return every file needed from position `start` on `timeline` up to and with `last`.

    Raises ValueError when `last` is on a timeline that does not come from `timeline`.
    """
    size = last.size
    switches: list[Switch] = []
    if last.timeline != timeline:
        if last.timeline not in histories:
            raise ValueError(f"{last.timeline:08X}.history is missing")
        switches = read_history(histories[last.timeline])
        known = [switch.timeline for switch in switches]
        if timeline not in known:
            raise ValueError(f"timeline {last.timeline} does not come from timeline {timeline}")
        switches = switches[known.index(timeline) :]
        if start > switches[0].lsn:
            raise ValueError(f"timeline {last.timeline} left timeline {timeline} before the backup was taken")
    needed, at = [], start // size
    for switch in switches:
        # The file in which a timeline ends exists on the next one too, up to there with the same bytes.
        end = switch.lsn // size
        needed += [Segment(switch.timeline, number, size) for number in range(at, end)]
        at = end
    return needed + [Segment(last.timeline, number, size) for number in range(at, last.number + 1)]


class Gap(msgspec.Struct, frozen=True):
    """Files that are missing between two that are there."""

    first: str
    last: str
    count: int

    def __str__(self) -> str:
        return self.first if self.count == 1 else f"{self.first} to {self.last} ({self.count} files)"


def gaps(needed: Sequence[Segment], there: Iterable[str]) -> list[Gap]:
    """Return what is missing of the needed files, neighbours as one gap."""
    have = set(there)
    found: list[list[Segment]] = []
    for segment in needed:
        if segment.name in have:
            continue
        if found and found[-1][-1].next() == segment:
            found[-1].append(segment)
        else:
            found.append([segment])
    return [Gap(run[0].name, run[-1].name, len(run)) for run in found]


def holes(names: Iterable[str], start: int = 0, size: int = SEGMENT_BYTES) -> list[Gap]:
    """Return the gaps between the first and the last file of each timeline, from position `start` on."""
    by_timeline: dict[int, list[Segment]] = {}
    kept = [segment for name in names if (segment := segment_named(name, size)).end > start]
    for segment in sorted(kept):
        by_timeline.setdefault(segment.timeline, []).append(segment)
    found = []
    for segments in by_timeline.values():
        every = [
            Segment(segments[0].timeline, number, size)
            for number in range(segments[0].number, segments[-1].number + 1)
        ]
        found += gaps(every, {segment.name for segment in segments})
    return found
