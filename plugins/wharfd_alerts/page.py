"""The console page: what fires now and what fired lately."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import PluginContext, Record, Request
from wharfd.contracts.html import Column, Html, Tone, badge, card, code, empty, moment, stack, table

from . import listing
from .config import Settings

_TONES: dict[str, Tone] = {"critical": "bad", "warning": "warn", "info": "info"}


async def render(ctx: PluginContext[Settings], request: Request) -> Html:
    """Return the page's HTML."""
    firing = await listing.open_alerts(ctx.db, pending=False)
    lately = await listing.history(ctx.db, None, 50, None)
    return stack(card("Firing", _firing(firing)), card("History", _history(lately)))


def _firing(rows: Sequence[Record]) -> Html:
    columns = ["Severity", "Rule", "Key", Column("Message", wide=True), "Since"]
    cells = [
        (_severity(row), _rule(row), code(row["key"]), row["message"], moment(row["fired_at"]))
        for row in rows
    ]
    nothing = empty("Nothing fires", "Every rule finds things as they should be.")
    return table("Firing alerts", columns, cells, nothing=nothing)


def _history(rows: Sequence[Record]) -> Html:
    columns = ["Began", "Status", "Severity", Column("Rule", wide=True), "Key", "Resolved"]
    cells = [
        (
            moment(row["started_at"]),
            badge(row["status"]),
            _severity(row),
            _rule(row),
            code(row["key"]),
            moment(row["resolved_at"]),
        )
        for row in rows
    ]
    return table("Past alerts", columns, cells, nothing="Nothing has fired yet")


def _severity(row: Record) -> Html:
    return badge(row["severity"], _TONES.get(row["severity"], "plain"))


def _rule(row: Record) -> str:
    return f"{row['plugin']}.{row['rule']}"
