"""Values of options that several commands take."""

from __future__ import annotations

import argparse
from datetime import timedelta

from ..spans import read_span

_LONGEST = timedelta(days=36_500)


def seconds_of(text: str) -> int:
    """Return the seconds of `90d`, `12h` or `30m`; argparse tells what is wrong."""
    try:
        span = read_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; {error}") from None
    if span > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than a hundred years")
    return int(span.total_seconds())
