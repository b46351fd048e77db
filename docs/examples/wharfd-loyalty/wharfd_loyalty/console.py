"""This plugin's page of the console."""

from __future__ import annotations

from wharfd import ConsolePage, PluginContext, Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import Column, Html, action, badge, card, moment, number, pager, table

from .config import Settings

HERE = "/console/loyalty/members"
MEMBERS = "/api/v1/loyalty/members"


async def render_members(ctx: PluginContext[Settings], request: Request) -> Html:
    """List the members as the API shows them to this person, with a button for those who may give."""
    page = await ask(ctx, request, MEMBERS, cursor=wanted(request, "cursor"))
    rows = [
        (
            one["reference"],
            badge(one["level"]),
            number(one["points"]),
            moment(one["earned_at"]),
            action(
                request.identity,
                "loyalty:write",
                "Give 100",
                within(MEMBERS + "/{id}/gifts", id=one["id"]),
                body={"points": 100, "note": "from the console"},
                confirm=f"Give {one['reference']} 100 points?",
            ),
        )
        for one in page["items"]
    ]
    columns = ["Member", "Level", Column("Points", right=True), "Last earned", ""]
    listed = table("Members", columns, rows, nothing="Nobody has paid yet")
    return card("Members", listed, pager(HERE, page["next_cursor"]))


PAGES = [ConsolePage(path="loyalty/members", title="Members", render=render_members, icon="page", order=500)]
