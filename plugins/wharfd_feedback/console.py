"""The plugin's page of the console: flags that wait for a moderator, and what an insight got."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.charts import Series, chart
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    address,
    badge,
    card,
    choice,
    field,
    figure,
    grid,
    join,
    link,
    moment,
    number,
    pager,
    search,
    stack,
    table,
)

FLAGS = "/console/feedback/moderation"
_API = "/api/v1/feedback"
_MODERATE = "moderation:write"
_STATES = ("open", "upheld", "dismissed")


async def render_moderation(ctx: Any, request: Request) -> Html:
    """List the flags in a state, or show one insight."""
    insight = wanted(request, "insight")
    if insight:
        return await _insight(ctx, request, insight)
    state = wanted(request, "state") or "open"
    page = await ask(ctx, request, f"{_API}/flags", state=state, cursor=wanted(request, "cursor"))
    form = search(
        FLAGS,
        choice("State", "state", [(one, one) for one in _STATES], state),
        field("Or one insight", "insight", hint="its id"),
    )
    rows = [
        (
            moment(one["flagged_at"]),
            link(one["insight_id"], address(FLAGS, insight=one["insight_id"])),
            badge(one["flag_type"], "warn"),
            one["user_id"],
            one["flag_reason"],
            one["comment"] or "",
            _decided(one),
            _buttons(request, one),
        )
        for one in page["items"]
    ]
    columns = ["Flagged", "Insight", "Kind", "By", Column("Reason", wide=True), Column("Comment", wide=True)]
    listed = table("Flags", [*columns, "Decided", ""], rows, nothing=f"No flag is {state}")
    return card("Flags", form, listed, pager(FLAGS, page.get("next_cursor"), state=state))


def _decided(one: dict[str, Any]) -> object:
    if one["moderated_at"] is None:
        return ""
    return join((moment(one["moderated_at"]), f" by {one['moderated_by']} {one['moderator_note'] or ''}"))


def _buttons(request: Request, one: dict[str, Any]) -> Html:
    path = within(_API + "/flags/{id}", id=one["id"])
    verbs = (("upheld", "Uphold"), ("dismissed", "Dismiss"), ("open", "Reopen"))
    return join(
        (
            action(request.identity, _MODERATE, label, path, body={"state": state})
            for state, label in verbs
            if state != one["flag_state"] and (state != "open" or one["flag_state"] != "open")
        ),
        " ",
    )


async def _insight(ctx: Any, request: Request, insight: str) -> Html:
    stats = await ask(ctx, request, f"{_API}/stats", insight_id=insight)
    page = await ask(
        ctx, request, f"{_API}/comments", insight_id=insight, limit=50, cursor=wanted(request, "cursor")
    )
    stars = [float(stats["rating_distribution"][str(step)]) for step in range(1, 6)]
    rows = [
        (moment(one["created_at"]), one["user_id"], number(one["rating"]), one["comment"])
        for one in page["comments"]
    ]
    columns = ["Written", "By", Column("Rating", right=True), Column("Comment", wide=True)]
    return stack(
        link("← All flags", FLAGS),
        grid(
            figure(
                "Average", f"{stats['average_rating']:.2f}", f"of {number(stats['total_ratings'])} ratings"
            ),
            figure("Comments", number(stats["total_comments"])),
            figure("Flags", number(stats["total_flags"]), tone="warn" if stats["total_flags"] else "plain"),
        ),
        chart("stars", "Ratings", [Series("ratings", stars)], kind="bar", names=("1", "2", "3", "4", "5")),
        card(
            f"Comments on {insight}",
            table("Comments", columns, rows, nothing="Nobody has written anything"),
            pager(FLAGS, page.get("next_cursor"), insight=insight),
        ),
    )


PAGES = [
    ConsolePage(
        path="feedback/moderation", title="Moderation", render=render_moderation, icon="flag", order=600
    )
]
