"""The plugin's page of the console: the API keys, without their secrets."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    badge,
    card,
    choice,
    code,
    field,
    moment,
    number,
    pager,
    search,
    table,
    tag,
)

KEYS = "/console/integrations/keys"


async def render_keys(ctx: Any, request: Request) -> Html:
    """List the keys, those that work before those that ended."""
    owner, ended = wanted(request, "owner"), wanted(request, "ended")
    page = await ask(ctx, request, "/api/v1/keys", owner=owner, ended=ended, cursor=wanted(request, "cursor"))
    form = search(
        KEYS,
        field("Owner", "owner", owner),
        choice("Show", "ended", [("", "keys that work"), ("true", "ended ones too")], ended),
    )
    rows = [
        (
            tag("strong", one["name"]),
            code(one["public"]),
            one["owner"] or "everybody’s rows",
            badge(one["state"], "bad" if one["state"] in ("revoked", "expired") else None),
            tag("span", *(tag("div", code(scope)) for scope in one["scopes"])),
            moment(one["last_used_at"], "never"),
            number(one["use_count"]),
            moment(one["expires_at"], "never"),
            _revoke(request, one),
        )
        for one in page["items"]
    ]
    columns = [
        "Name",
        "Key",
        "Owner",
        "State",
        Column("Scopes", wide=True),
        "Last used",
        Column("Uses", right=True),
    ]
    listed = table(
        "API keys", [*columns, "Ends", ""], rows, nothing="No key yet; make one with wharfd keys create"
    )
    more = pager(KEYS, page.get("next_cursor"), owner=owner, ended=ended)
    return card("API keys", form, listed, more, note="A key’s secret is shown once, when it is made.")


def _revoke(request: Request, one: dict[str, Any]) -> Html:
    if one["revoked_at"] is not None:
        return Html("")
    path = within("/api/v1/keys/{id}/revoke", id=one["id"])
    asked = f"Revoke the key {one['name']}? It stops working at once and for good."
    return action(request.identity, "keys:write", "Revoke", path, confirm=asked, look="bad")


PAGES = [ConsolePage(path="integrations/keys", title="API keys", render=render_keys, icon="keys", order=400)]
