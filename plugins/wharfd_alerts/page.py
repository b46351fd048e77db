"""The console page: what fires now and what fired lately."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from wharfd import PluginContext, Record, Request

from . import listing
from .config import Settings


async def render(ctx: PluginContext[Settings], request: Request) -> str:
    """Return the page's HTML."""
    firing = await listing.open_alerts(ctx.db, pending=False)
    lately = await listing.history(ctx.db, None, 50, None)
    return (
        "<section><h2>Firing</h2>"
        + _table(firing, ("severity", "plugin", "rule", "key", "message", "fired_at"), "nothing fires")
        + "</section><section><h2>History</h2>"
        + _table(
            lately, ("started_at", "status", "severity", "plugin", "rule", "key", "resolved_at"), "empty"
        )
        + "</section>"
    )


def _table(rows: Sequence[Record], columns: tuple[str, ...], empty: str) -> str:
    if not rows:
        return f"<p>{escape(empty)}</p>"
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row[column] or ''))}</td>" for column in columns) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
