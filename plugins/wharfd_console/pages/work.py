"""The work queues: how much waits, what was given up, and pausing, resuming and digging up."""

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
    empty,
    join,
    link,
    moment,
    more,
    number,
    pager,
    pretty,
    stack,
    table,
    tag,
)

from ..parts import Context

_WRITE = "system:write"
_PAGE = 25


async def render(ctx: Context, request: Request) -> Html:
    """List the queues, or show the one that was chosen with its buried rows."""
    chosen = wanted(request, "queue")
    queues = (await ask(ctx, request, "/api/v1/work"))["queues"]
    listed = _queues(request, [one for one in queues if chosen in ("", one["name"])])
    if not chosen:
        return listed
    return stack(link("← All queues", "/console/work"), listed, await _buried(ctx, request, chosen))


def _queues(request: Request, queues: list[dict[str, Any]]) -> Html:
    columns = ["Queue", "State", *(Column(t, right=True) for t in ("Due", "Waiting", "Running", "Oldest"))]
    columns += [Column(title, right=True) for title in ("Done/min", "Retried/min", "Given up")]
    rows = [
        (
            link(one["name"], address("/console/work", queue=one["name"])),
            badge(one["state"]),
            number(one["due"]),
            number(one["ready"] - one["due"]),
            number(one["running"]),
            duration(one["oldest_due_seconds"]),
            number(round(one["done_per_minute"], 1)),
            number(round(one["retried_per_minute"], 1)),
            _given_up(one),
            _switch(request, one),
        )
        for one in queues
    ]
    return card(
        "Queues",
        table("Work queues", [*columns, ""], rows, nothing="No plugin declares work"),
        note="Over all daemons; rates are of the last five minutes.",
    )


def _given_up(one: dict[str, Any]) -> object:
    if not one["buried"]:
        return tag("span", "0", class_="soft")
    return link(number(one["buried"]), address("/console/work", queue=one["name"]), class_="bad")


def _switch(request: Request, one: dict[str, Any]) -> Html:
    name = one["name"]
    if one["state"] == "paused":
        return action(request.identity, _WRITE, "Resume", within("/api/v1/work/{queue}/resume", queue=name))
    path = within("/api/v1/work/{queue}/pause", queue=name)
    asked = f"Pause {name} on every daemon? What runs goes on; nothing new is taken up."
    return action(request.identity, _WRITE, "Pause", path, confirm=asked)


async def _buried(ctx: Context, request: Request, queue: str) -> Html:
    path = within("/api/v1/work/{queue}/buried", queue=queue)
    page = await ask(ctx, request, path, cursor=wanted(request, "cursor"), limit=_PAGE)
    requeue = within("/api/v1/work/{queue}/requeue", queue=queue)
    rows = [
        (
            code(one["key"]),
            moment(one["buried_at"]),
            number(one["attempts"]),
            tag("span", one["reason"] or "–"),
            join(
                (
                    more("row", pretty(one["row"])),
                    more(f"history ({len(one['history'])})", pretty(one["history"])),
                )
            ),
            action(request.identity, _WRITE, "Work again", requeue, body={"keys": [one["key"]]}),
        )
        for one in page["items"]
    ]
    every = action(
        request.identity,
        _WRITE,
        "Work all again",
        requeue,
        body={"all": True},
        confirm=f"Work every row that {queue} gave up again, with all attempts?",
        look="primary",
    )
    columns = ["Row", "Given up", Column("Attempts", right=True), Column("Reason", wide=True), "Details", ""]
    listed = table(
        "Buried rows",
        columns,
        rows,
        nothing=empty(
            "Nothing was given up", "A row is buried after its last attempt, or when its handler says so."
        ),
    )
    more_of_it = pager("/console/work", page.get("next_cursor"), queue=queue)
    return card(f"Given up: {queue}", listed, more_of_it, actions=every if rows else "")
