"""A report as the lines of a table: what the CLI prints, and what can be pasted into a document."""

from __future__ import annotations

from typing import Any

from .plan import Figure, Report

COLUMNS = ("suite", "what", "per_second", "range", "p50_ms", "p99_ms", "p999_ms", "max_ms", "aim", "note")


def rows(report: Report) -> list[dict[str, Any]]:
    """Return a mapping per figure, everything in it text."""
    return [_row(one) for one in report.figures]


def _row(one: Figure) -> dict[str, Any]:
    verdict = {True: "met: ", False: "NOT MET: ", None: ""}[one.met]
    failed = f"{one.failed} failed; " if one.failed else ""
    return {
        "suite": one.suite,
        "what": one.name,
        "per_second": f"{one.per_second:,.0f}",
        "range": f"{one.lowest:,.0f}–{one.highest:,.0f}",
        "p50_ms": _milliseconds(one.p50_ms),
        "p99_ms": _milliseconds(one.p99_ms),
        "p999_ms": _milliseconds(one.p999_ms),
        "max_ms": _milliseconds(one.max_ms),
        "aim": verdict + one.aim,
        "note": failed + one.note,
    }


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"
