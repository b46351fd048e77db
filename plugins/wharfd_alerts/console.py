"""The plugin's page of the console: what fires now, what is silenced, what fired lately."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, within
from wharfd.contracts.html import (
    Column,
    Html,
    Tone,
    action,
    badge,
    card,
    code,
    empty,
    join,
    moment,
    stack,
    table,
    tag,
)

_API = "/api/v1/alerts"
_WRITE = "alerts:write"
_TONES: dict[str, Tone] = {"critical": "bad", "warning": "warn", "info": "info"}


async def render_alerts(ctx: Any, request: Request) -> Html:
    """Show what fires, the silences and the history."""
    firing = (await ask(ctx, request, _API))["items"]
    silences = (await ask(ctx, request, f"{_API}/silences"))["items"]
    lately = (await ask(ctx, request, f"{_API}/history", limit=50))["items"]
    return stack(
        card("Firing", _firing(request, firing)),
        card("Silences", _silences(request, silences)) if silences else "",
        card("History", _history(lately)),
    )


def _firing(request: Request, rows: list[dict[str, Any]]) -> Html:
    cells = [
        (
            _severity(one),
            _what(one),
            join((tag("div", one["message"]), tag("div", one["runbook"] or "", class_="soft"))),
            join((moment(one["fired_at"]), badge("silenced") if one["silenced"] else ""), " "),
            one["acknowledged_by"] or "–",
            _buttons(request, one),
        )
        for one in rows
    ]
    columns = ["Severity", "Rule", Column("Message", wide=True), "Since", "Acknowledged", ""]
    nothing = empty("Nothing fires", "Every rule finds things as they should be.")
    return table("Firing alerts", columns, cells, nothing=nothing)


def _buttons(request: Request, one: dict[str, Any]) -> Html:
    path = within(_API + "/{id}/", id=one["id"])
    hush = {
        "plugin": one["plugin"],
        "rule": one["rule"],
        "key": one["key"],
        "seconds": 3600,
        "reason": "console",
    }
    seen = action(request.identity, _WRITE, "Acknowledge", path + "ack", body={})
    silence = action(
        request.identity, _WRITE, "Silence 1 h", f"{_API}/silences", body=hush,
        confirm=f"Tell nobody about {_rule(one)} for an hour?",
    )  # fmt: skip
    return join(("" if one["acknowledged_by"] else seen, silence), " ")


def _silences(request: Request, rows: list[dict[str, Any]]) -> Html:
    cells = [
        (
            f"{one['plugin'] or '*'}.{one['rule'] or '*'}",
            code(one["key"] or "*"),
            badge("active", "warn") if one["active"] else badge("over"),
            moment(one["ends_at"]),
            one["created_by"],
            one["reason"],
            action(request.identity, _WRITE, "End", f"{_API}/silences/{one['id']}", method="DELETE")
            if one["active"]
            else "",
        )
        for one in rows
    ]
    return table("Silences", ["Rule", "Key", "State", "Until", "By", Column("Reason", wide=True), ""], cells)


def _history(rows: list[dict[str, Any]]) -> Html:
    cells = [
        (
            moment(one["started_at"]),
            badge(one["status"]),
            _severity(one),
            _what(one),
            one["message"],
            moment(one["resolved_at"]),
        )
        for one in rows
    ]
    columns = ["Began", "Status", "Severity", "Rule", Column("Message", wide=True), "Resolved"]
    return table("Past alerts", columns, cells, nothing="Nothing has fired yet")


def _severity(one: dict[str, Any]) -> Html:
    return badge(one["severity"], _TONES.get(one["severity"], "plain"))


def _what(one: dict[str, Any]) -> Html:
    """Return the rule, and what it found wrong where there are several such."""
    return join((tag("div", _rule(one)), tag("div", code(one["key"])) if one["key"] else ""))


def _rule(one: dict[str, Any]) -> str:
    return f"{one['plugin']}.{one['rule']}"


PAGES = [
    ConsolePage(path="alerts", title="Alerts", render=render_alerts, icon="alerts", order=30, live_seconds=5)
]
