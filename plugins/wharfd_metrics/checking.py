"""What a point must be to be kept. Pure: what is wrong is told in a sentence that begins with the field."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

MOST_LABELS = 16
MOST_METADATA_BYTES = 4096
LARGEST = 1e200
AHEAD = timedelta(minutes=5)  # what clocks differ by

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,49}")
_UNIT = re.compile(r"[A-Za-z0-9%/^*._{}µ°-]{0,20}")


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """One measurement, as it is sent. Without `timestamp` it is of now; one without a zone is UTC."""

    service_name: str
    metric_type: str
    metric_value: float
    unit: str = ""
    metric_metadata: dict[str, Any] | None = None
    labels: dict[str, str] = {}
    timestamp: datetime | None = None


_NO_JSON = re.compile(rb"(?<![\w\"])-?(?:NaN|Infinity)(?![\w\"])")  # what some write for such numbers
_one = msgspec.json.Decoder(Point)
_all = msgspec.json.Decoder(list[Point])
_members = msgspec.json.Decoder(list[msgspec.Raw])


def decode_points(body: bytes) -> tuple[dict[int, Point], dict[int, str]]:
    """Return the points of a JSON list by position, and what is wrong with those that are none.

    Raises what msgspec raises when the body is no list.
    """
    try:
        return dict(enumerate(_all.decode(body))), {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # looked at one by one, so that the good ones count
    points: dict[int, Point] = {}
    problems: dict[int, str] = {}
    for position, raw in enumerate(_split(body)):
        try:
            points[position] = _one.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problems[position] = _sentence(str(error))
    return points, problems


def _split(body: bytes) -> list[msgspec.Raw]:
    """Return the members of a JSON list. NaN and Infinity, which are no JSON, become numbers out of range."""
    try:
        return _members.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not _NO_JSON.search(body):
            raise
        return _members.decode(_NO_JSON.sub(b"1e999", body))


def _sentence(text: str) -> str:
    """Write what msgspec says of a point as the other problems are written."""
    what, _, path = text.replace("`", "").partition(" - at $.")
    missing = what.removeprefix("Object missing required field ")
    if missing != what:
        return f"{missing} is missing"
    what = "must be a finite number" if what == "Number out of range" else what[:1].lower() + what[1:]
    return f"{path} {what}" if path else what


def utc(at: datetime) -> datetime:
    """Return an aware time in UTC; one without a zone is taken for UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def is_counter(metric: str) -> bool:
    """Say whether a metric counts up from zero, by its name."""
    return metric.endswith("_total")


def problem_with(point: Point, now: datetime, late: timedelta) -> str | None:
    """Return what is wrong with a point, or None."""
    for name, text in (("service_name", point.service_name), ("metric_type", point.metric_type)):
        if not _NAME.fullmatch(text):
            return (
                f"{name} {text[:60]!r} must have 1 to 100 letters, digits and _ . : / - and begin with one of"
                " the first two"
            )
    if not _UNIT.fullmatch(point.unit):
        return f"unit {point.unit[:40]!r} is not a unit of at most 20 characters"
    return _problem_with_labels(point) or problem_with_value(point, now, late)


def problem_with_value(point: Point, now: datetime, late: timedelta) -> str | None:
    """Return what is wrong with a point beside its names: value, metadata, time."""
    if not math.isfinite(point.metric_value) or abs(point.metric_value) > LARGEST:
        return f"metric_value must be a finite number of at most {LARGEST:g}"
    if point.metric_value < 0 and is_counter(point.metric_type):
        return (
            f"metric_value {point.metric_value:g} is negative, and a counter ({point.metric_type}) never is"
        )
    return _problem_with_metadata(point) or _problem_with_time(point, now, late)


def _problem_with_labels(point: Point) -> str | None:
    if len(point.labels) > MOST_LABELS:
        return f"labels has {len(point.labels)} of them, at most {MOST_LABELS} are possible"
    for name, value in point.labels.items():
        if not _LABEL.fullmatch(name):
            return f"label {name[:60]!r} is not a name of letters, digits and _"
        if len(value) > 100 or "\0" in value:
            return f"label {name} must have at most 100 characters and no U+0000"
    return None


def _problem_with_metadata(point: Point) -> str | None:
    if point.metric_metadata is not None:
        encoded = msgspec.json.encode(point.metric_metadata)
        if len(encoded) > MOST_METADATA_BYTES:
            return f"metric_metadata has {len(encoded)} bytes, at most {MOST_METADATA_BYTES} are possible"
        if rb"\u0000" in encoded:
            return "metric_metadata cannot hold the character U+0000"
    return None


def _problem_with_time(point: Point, now: datetime, late: timedelta) -> str | None:
    if point.timestamp is None:
        return None
    try:
        at = utc(point.timestamp)
    except OverflowError:
        return "timestamp is out of range"
    if at > now + AHEAD:
        return f"timestamp {at:%Y-%m-%dT%H:%M:%SZ} lies in the future"
    if at < now - late:
        return f"timestamp {at:%Y-%m-%dT%H:%M:%SZ} is older than the {late.days} days points may be late"
    return None
