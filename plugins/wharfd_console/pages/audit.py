"""The audit: who changed what, and whether the record is whole."""

from __future__ import annotations

from wharfd import Request
from wharfd.contracts.console import ask, wanted
from wharfd.contracts.html import (
    Column,
    Html,
    address,
    card,
    code,
    field,
    link,
    moment,
    more,
    notice,
    number,
    pager,
    pretty,
    search,
    stack,
    table,
    tag,
)

from ..parts import Context

_FIELDS = ("actor", "action", "subject", "owner")
_PAGE = 50


async def render(ctx: Context, request: Request) -> Html:
    """List entries that match, the latest first; with `verify` walk the chain before."""
    given = {name: wanted(request, name) for name in _FIELDS}
    cursor = wanted(request, "cursor")
    page = await ask(ctx, request, "/api/v1/audit", **given, cursor=cursor, limit=_PAGE)
    rows = [
        (
            moment(one["recorded_at"]),
            tag("strong", one["actor"]),
            link(one["action"], address("/console/audit", action=one["action"])),
            code(one["subject"]),
            more("detail", pretty(one["detail"])) if one.get("detail") else "",
            one.get("ip") or "",
        )
        for one in page["items"]
    ]
    form = search("/console/audit", *(field(name.title(), name, given[name]) for name in _FIELDS))
    columns = ["At", "Who", "Did", Column("To", wide=True), "", "From"]
    listed = table("Audit entries", columns, rows, nothing="No entry matches; leave a field out to see more")
    verify = link("Verify the chain", address("/console/audit", verify="1"), class_="button")
    return stack(
        await _verdict(ctx, request) if wanted(request, "verify") else "",
        card(
            "Who changed what",
            form,
            listed,
            pager("/console/audit", page.get("next_cursor"), **given),
            note="Every change by a person, kept for 400 days.",
            actions=verify,
        ),
    )


async def _verdict(ctx: Context, request: Request) -> Html:
    found = await ask(ctx, request, "/api/v1/audit/verify")
    if found["holds"]:
        checked = number(found["checked"])
        return notice(f"The chain of {checked} entries holds: nothing was changed or taken out.", "good")
    return stack(notice("The chain is broken: something was changed or taken out.", "bad"), pretty(found))
