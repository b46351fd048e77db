"""The icons of the console: strokes on a field of 20 by 20, drawn by us."""

from __future__ import annotations

from wharfd.contracts.html import Html, tag

_STROKES = {
    "overview": "M3 16.5h14M4.5 13l3.5-4 3 2.5L16 5",
    "plugins": "M4 4h5v5H4zM11 11h5v5h-5zM11 4h5v5h-5zM4 11h5v5H4z",
    "work": "M3 5h14M3 10h10M3 15h6",
    "schedules": "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14M10 6v4l3 2",
    "database": "M4 5.5C4 4 16 4 16 5.5S4 7 4 5.5v9c0 1.5 12 1.5 12 0v-9M4 10c0 1.5 12 1.5 12 0",
    "audit": "M5 3h7l3 3v11H5zM8 9h4M8 12h4",
    "doctor": "M3 10h4l2-5 3 10 2-5h3",
    "events": "M3 11l3-7h8l3 7v5H3zM3 11h4l1 2h4l1-2h4",
    "send": "M17 3L3 9l5 2.5M17 3l-5 14-4-5.5M17 3l-9 8.5",
    "deliveries": "M3 6h9v8H3zM12 9h3l2 2.5V14h-5zM6 16a1 1 0 1 0 0-2M14.5 16a1 1 0 1 0 0-2",
    "keys": "M8 12a3.5 3.5 0 1 1 2-2l6 6v1h-3v-2h-2v-2H9z",
    "sources": "M10 3v9M6 8l4 4 4-4M4 16h12",
    "alerts": "M10 3a4.5 4.5 0 0 0-4.5 4.5c0 4-2 5.5-2 5.5h13s-2-1.5-2-5.5A4.5 4.5 0 0 0 10 3M8.5 16h3",
    "money": "M3 5.5h14v9H3zM10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
    "batches": "M3 4h14v4H3zM3 12h14v4H3zM6 6h1M6 14h1",
    "mint": "M10 3l6 3.5v7L10 17l-6-3.5v-7zM10 10l6-3.5M10 10v7M10 10L4 6.5",
    "buyers": "M7.5 9a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M3 16c0-6 9-6 9 0M13 9a2 2 0 1 0 0-4M14 12q3 1 3 4",
    "flag": "M5 17V3M5 4c4-2 6 2 10 0v7c-4 2-6-2-10 0",
    "backup": "M4 6c0-4 12-4 12 0v8c0 4-12 4-12 0zM10 7v6M7.500 10.500L10 13l2.500-2.500",
    "retention": "M10 3a7 7 0 1 0 7 7M10 6v4l-3 2M14 3v4h4",
    "archive": "M3 4h14v3H3zM4 7h12v9H4zM8 10h4",
    "page": "M5 3h10v14H5zM8 7h4M8 10h4M8 13h2",
}


def icon(name: str) -> Html:
    """Return the icon of that name; a plain page for one we do not have."""
    strokes = tag("path", d=_STROKES.get(name, _STROKES["page"]))
    return tag("svg", strokes, class_="icon", viewBox="0 0 20 20", aria_hidden="true")


def mark() -> Html:
    """Return the mark of wharfd: a bollard, a rope around it, and water."""
    return tag(
        "svg",
        tag("path", d="M7 5h10v3h-2v7H9V8H7z", class_="post"),
        tag("path", d="M8 11c3 2 5 0 8-1", class_="rope"),
        tag("path", d="M2 18c2-2 4-2 6.700 0s4.700 2 6.600 0 4.700-2 6.700 0", class_="water"),
        class_="mark",
        viewBox="0 0 24 24",
        aria_hidden="true",
    )
