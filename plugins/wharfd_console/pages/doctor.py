"""The doctor: is everything the daemon stands on there and as it must be?"""

from __future__ import annotations

from wharfd import Request
from wharfd.contracts.console import ask
from wharfd.contracts.html import Column, Html, badge, card, code, link, table, tag

from ..parts import Context


async def render(ctx: Context, request: Request) -> Html:
    """Examine now and list what was found, the worst first."""
    findings = (await ask(ctx, request, "/api/v1/doctor"))["findings"]
    order = {"fail": 0, "warn": 1}
    rows = [
        (
            badge(one["state"]),
            code(one["check"]),
            tag("span", one["found"]),
            tag("span", one.get("hint") or ""),
        )
        for one in sorted(findings, key=lambda one: order.get(one["state"], 2))
    ]
    listed = table(
        "Findings",
        ["", "What", Column("Found", wide=True), Column("Way out", wide=True)],
        rows,
        nothing="Nothing to tell",
    )
    again = link("Examine again", "/console/doctor", class_="button")
    return card("What the daemon stands on", listed, actions=again)
