"""Values of options that several commands take."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from ..spans import read_span
from ..state import known_config

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


def config_of(parsed: argparse.Namespace) -> Path | None:
    """Return the configuration to look into: the given one, else that of the daemon of this state folder."""
    return parsed.config or known_config(parsed.state_dir)
