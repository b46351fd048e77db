"""The plugin's pages of the console: integrations with their keys, and every API key, without secrets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, get_args

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    address,
    badge,
    card,
    choice,
    code,
    facts,
    field,
    form,
    join,
    link,
    moment,
    number,
    pager,
    search,
    stack,
    table,
    tag,
)

from .routes.integration_shapes import Type

KEYS = "/console/integrations/keys"
INTEGRATIONS = "/console/integrations/list"
_API = "/api/v1/integrations"
_ONE = _API + "/{id}"
_WRITE = "integrations:write"
_TYPES = get_args(Type)
_STATUSES = ("", "active", "pending", "suspended", "inactive")


async def render_keys(ctx: Any, request: Request) -> Html:
    """List the keys, those that work before those that ended."""
    owner, ended = wanted(request, "owner"), wanted(request, "ended")
    page = await ask(ctx, request, "/api/v1/keys", owner=owner, ended=ended, cursor=wanted(request, "cursor"))
    filters = search(
        KEYS,
        field("Owner", "owner", owner),
        choice("Show", "ended", [("", "keys that work"), ("true", "ended ones too")], ended),
    )
    listed = _key_table(request, page["items"], "No key yet")
    more = pager(KEYS, page.get("next_cursor"), owner=owner, ended=ended)
    keys = card("API keys", filters, listed, more)
    return stack(keys, _new_key(request))


def _new_key(request: Request) -> Html:
    """Return the form that makes a key; nothing for whoever may not."""
    made = form(
        request.identity,
        "keys:write",
        "Make the key",
        "/api/v1/keys",
        field("Name", "name", kind="text", hint="what it is for", required=True),
        field("Owner", "owner", kind="text", hint="whose rows it sees", required=True),
        field("Scopes", "scopes", kind="words", hint="orders:read orders:write", required=True),
        field("Requests a minute", "rate_per_minute", kind="number", hint="no limit"),
        field("Only from", "allow_list", kind="words", hint="203.0.113.0/24"),
        shows=("key", "secret"),
    )
    note = "The key is shown once, when it is made. A scope is area:verb, area:* or *."
    return card("New key", made, note=note) if made else made


def _key_table(request: Request, keys: Iterable[dict[str, Any]], nothing: str) -> Html:
    rows = [
        (
            tag("strong", one["name"]),
            code(one["public"]),
            one["owner"] or "everybody’s rows",
            badge(one["state"], "bad" if one["state"] in ("revoked", "expired") else None),
            tag("span", *(tag("div", code(scope)) for scope in one["scopes"])),
            moment(one["last_used_at"], "never"),
            number(one["use_count"]),
            moment(_end_of(one), "never"),
            _revoke(request, one),
        )
        for one in keys
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
    return table("API keys", [*columns, "Ends", ""], rows, nothing=nothing)


def _end_of(one: dict[str, Any]) -> datetime | None:
    """Return when a key stops working by itself: at its end, or when its successor has taken over."""
    ends = [at for at in (one["expires_at"], one["valid_until"]) if at is not None]
    return min(ends, default=None)


def _revoke(request: Request, one: dict[str, Any]) -> Html:
    if one["revoked_at"] is not None:
        return Html("")
    path = within("/api/v1/keys/{id}/revoke", id=one["id"])
    asked = f"Revoke the key {one['name']}? It stops working at once and for good."
    return action(request.identity, "keys:write", "Revoke", path, confirm=asked, look="bad")


async def render_integrations(ctx: Any, request: Request) -> Html:
    """List the integrations that match, or show the one that was chosen with its keys."""
    chosen = wanted(request, "id")
    if chosen:
        return await _integration(ctx, request, chosen)
    status = wanted(request, "status")
    page = await ask(ctx, request, _API, status=status, cursor=wanted(request, "cursor"))
    filters = search(
        INTEGRATIONS, choice("Status", "status", [(one, one or "any") for one in _STATUSES], status)
    )
    rows = [
        (
            link(one["name"], address(INTEGRATIONS, id=one["id"])),
            one["type"].replace("_", " "),
            one["userId"] or "house",
            badge(one["status"]),
            number(one["keyCount"]),
            moment(one["lastUsedAt"], "never"),
            number(one["usageCount"]),
            _turns(request, one),
        )
        for one in page["items"]
    ]
    columns = ["Name", "Type", "Owner", "Status", Column("Keys", right=True), "Last used"]
    listed = table(
        "Integrations",
        [*columns, Column("Uses", right=True), ""],
        rows,
        nothing="No integration matches",
    )
    every = card("Integrations", filters, listed, pager(INTEGRATIONS, page.get("next_cursor"), status=status))
    return stack(every, _new_integration(request))


def _new_integration(request: Request) -> Html:
    """Return the form that makes an integration; nothing for whoever may not."""
    made = form(
        request.identity,
        _WRITE,
        "Make the integration",
        _API,
        field("Name", "name", kind="text", hint="Shop", required=True),
        choice("Type", "type", [(one, one.replace("_", " ")) for one in _TYPES], "custom"),
        field("Owner", "owner", kind="text", hint="whose rows it sees", required=True),
        field("Scopes", "scopes", kind="words", hint="as the configuration says"),
        field("Webhook", "webhookUrl", kind="text", hint="https://…"),
        shows=("apiKey", "apiSecret", "webhookSecret"),
    )
    note = "Its key and secret are shown once, when it is made; it works when it is activated."
    return card("New integration", made, note=note) if made else made


async def _integration(ctx: Any, request: Request, chosen: str) -> Html:
    one = await ask(ctx, request, within(_ONE, id=chosen))
    keys = await ask(ctx, request, "/api/v1/keys", integration_id=chosen, ended=True, limit=200)
    known = facts(
        [
            ("Status", badge(one["status"])),
            ("Type", one["type"].replace("_", " ")),
            ("Owner", one["userId"] or "house"),
            ("Keys in use", number(one["keyCount"])),
            ("Key now", code(one["apiKey"] or "–")),
            ("Scopes", join((code(scope) for scope in one["scopes"]), " ") or "none"),
            ("Webhook", one["webhookUrl"] or "none"),
            ("Made", moment(one["createdAt"])),
            ("Changed", moment(one["updatedAt"])),
            ("Last used", moment(one["lastUsedAt"], "never")),
            ("Uses", number(one["usageCount"])),
        ]
    )
    rotate = action(
        request.identity,
        _WRITE,
        "Rotate",
        within(_ONE + "/rotate", id=chosen),
        confirm=f"Make a new key and secret for {one['name']}? The old pair goes on for a while.",
        shows=("apiKey", "apiSecret", "oldValidUntil"),
    )
    buttons = join((_turns(request, one), rotate if one["keyId"] else ""), " ")
    note = "A key’s secret is shown once, when it is made. Ended keys stay in the list."
    return stack(
        link("← All integrations", INTEGRATIONS),
        card(one["name"], known, actions=buttons),
        card("Keys", _key_table(request, keys["items"], "It has no key"), note=note),
    )


def _turns(request: Request, one: dict[str, Any]) -> Html:
    if one["status"] != "active":
        path = within(_ONE + "/activate", id=one["id"])
        return action(
            request.identity, _WRITE, "Activate", path, confirm=f"Let the keys of {one['name']} work?"
        )
    asked = f"Suspend {one['name']}? Its keys stop working at once, until it is activated."
    path = within(_ONE + "/suspend", id=one["id"])
    return action(request.identity, _WRITE, "Suspend", path, confirm=asked, look="bad")


PAGES = [
    ConsolePage(
        path="integrations/list", title="Integrations", render=render_integrations, icon="sources", order=395
    ),
    ConsolePage(path="integrations/keys", title="API keys", render=render_keys, icon="keys", order=400),
]
