"""The schedules: when each fires next, how it went the last times, and letting it fire now."""

from __future__ import annotations

from typing import Any

from wharfd import Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    address,
    badge,
    card,
    code,
    duration,
    join,
    link,
    moment,
    pager,
    stack,
    table,
    tag,
)

from ..parts import Context

_PAGE = 25


async def render(ctx: Context, request: Request) -> Html:
    """List the schedules, or show the one that was chosen with its runs."""
    chosen = wanted(request, "name")
    found = [
        one
        for one in (await ask(ctx, request, "/api/v1/schedules"))["schedules"]
        if chosen in ("", one["name"])
    ]
    columns = ["Schedule", "When", "Next", "Last", "Outcome", Column("Took", right=True)]
    rows = [
        (
            link(one["name"], address("/console/schedules", name=one["name"])),
            _when(one["when"]),
            tag("span", "no plugin declares it now", class_="soft")
            if one["absent_since"]
            else moment(one["next_at"]),
            moment(one["last_at"], "never"),
            badge(one["last_outcome"]) if one["last_outcome"] else tag("span", "–", class_="soft"),
            duration(one["last_seconds"]),
            tag("span", one["last_error"] or ""),
            _run(request, one),
        )
        for one in found
    ]
    listed = card(
        "Schedules",
        table(
            "Schedules",
            [*columns, Column("Error", wide=True), ""],
            rows,
            nothing="No plugin declares a schedule",
        ),
        note="One firing across all daemons. Times are UTC.",
    )
    if not chosen:
        return listed
    return stack(link("← All schedules", "/console/schedules"), listed, await _runs(ctx, request, chosen))


def _when(definition: str) -> Html:
    """Return a schedule's times as a person says them: `every 10 min`, `cron 0 1 * * *`."""
    told, _, jitter = definition.partition(" jitter ")
    kind, _, rest = told.partition(" ")
    words = f"every {duration(float(rest))}" if kind == "every" else join(("cron ", code(rest)))
    spread = tag("div", f"up to {duration(float(jitter))} later", class_="soft") if jitter else ""
    return join((tag("div", words), spread))


def _run(request: Request, one: dict[str, Any]) -> Html:
    if one["absent_since"]:
        return Html("")
    path = within("/api/v1/schedules/{name}/run", name=one["name"])
    asked = f"Let {one['name']} fire now, beside its plan?"
    return action(request.identity, "system:write", "Run now", path, confirm=asked)


async def _runs(ctx: Context, request: Request, name: str) -> Html:
    path = within("/api/v1/schedules/{name}/runs", name=name)
    page = await ask(ctx, request, path, cursor=wanted(request, "cursor"), limit=_PAGE)
    rows = [
        (
            moment(one["started_at"]),
            badge(one["outcome"]),
            "by hand" if one["by_hand"] else "as planned",
            moment(one["finished_at"]),
            code(one["node"]),
            tag("span", one["error"] or ""),
        )
        for one in page["items"]
    ]
    columns = ["Started", "Outcome", "Why", "Finished", "Daemon", Column("Error", wide=True)]
    listed = table("Runs", columns, rows, nothing="It has not fired yet")
    return card(f"Runs of {name}", listed, pager("/console/schedules", page.get("next_cursor"), name=name))
