"""The console's page of sources: when each was last heard of, its keys, and changing the stored ones.

A key is shown by its id, state and validity. What a person types as a key goes to the API in a POST and comes
back nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import NotFound, Request
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
    empty,
    facts,
    field,
    form,
    join,
    link,
    moment,
    more,
    notice,
    number,
    pretty,
    stack,
    table,
    tag,
)

from .api.origins import EVENTS_PAGE

SOURCES = "/console/netbanx/sources"
_KEYS = "/api/v1/webhook-secrets"
_ONE = _KEYS + "/{id}"
_MANAGE = "webhook_secrets:manage"
_ENCODINGS = (("", "as the source says"), ("base64", "base64"), ("hex", "hex"), ("utf8", "plain text"))
_DAY = 86_400


async def render_sources(ctx: Any, request: Request) -> Html:
    """List the sources with the keys that count, or show the one that was chosen with all its keys."""
    found = await ask(ctx, request, "/api/v1/webhook-sources")
    off = notice("Signatures are not checked: signature validation is switched off", "bad")
    head = "" if found["signatureValidation"] else off
    chosen = wanted(request, "id")
    if not chosen:
        return stack(head, _listed(found["sources"]))
    for one in found["sources"]:
        if one["name"] == chosen:
            return stack(link("← All sources", SOURCES), head, *_source(request, one))
    raise NotFound(f"there is no source {chosen!r}")


def _listed(sources: Sequence[dict[str, Any]]) -> Html:
    rows = [
        (
            link(one["name"], address(SOURCES, id=one["name"])),
            one["scheme"],
            tag("span", *(tag("div", code(path)) for path in one["paths"])),
            moment(one["lastEventAt"], "never"),
            tag("span", *(tag("div", _brief(key)) for key in one["keyStates"] if _counts(key)))
            if any(_counts(key) for key in one["keyStates"])
            else badge("none", "bad"),
            _refusals(one),
            tag("span", *(tag("div", remark) for remark in one["remarks"])),
        )
        for one in sources
    ]
    columns = ["Source", "Scheme", "Paths", "Last event", "Keys", "Refusals", Column("Remarks", wide=True)]
    nothing = "No source is configured; see [plugins.netbanx.sources]"
    return card("Sources", table("Sources", columns, rows, nothing=nothing))


def _counts(key: dict[str, Any]) -> bool:
    return key["state"] in ("active", "waiting")


def _brief(key: dict[str, Any]) -> Html:
    ends = join((" until ", moment(key["validUntil"]))) if key["validUntil"] else ""
    return join((code(key["id"]), " ", badge(key["state"]), ends))


def _refusals(one: dict[str, Any]) -> Html:
    refusals = one["lastRefusals"]
    return more(f"{len(refusals)} refused", pretty(refusals)) if refusals else Html("")


def _source(request: Request, one: dict[str, Any]) -> list[Html]:
    known = facts(
        [
            ("Scheme", one["scheme"]),
            ("Paths", join((code(path) for path in one["paths"]), ", ")),
            ("Owner", one["companyId"] or "house"),
            ("Last event", moment(one["lastEventAt"], "never")),
            ("Refusals", _refusals(one) or "none lately"),
        ]
    )
    events = link("Its events", address(EVENTS_PAGE, source=one["name"]), class_="button")
    parts = [
        *(notice(remark, "warn") for remark in one["remarks"]),
        card(one["name"], known, actions=events),
        card(
            "Keys",
            _key_table(request, one),
            *_rotations(request, one),
            note="The keys themselves are shown nowhere.",
        ),
    ]
    if request.identity.may(_MANAGE):
        parts.append(card("Add a key", _addition(request, one), note="It is sealed at once."))
    return parts


def _key_table(request: Request, one: dict[str, Any]) -> Html:
    rows = [
        (
            code(key["id"]),
            f"{key['name']}, version {key['version']}" if key["stored"] else "from the file",
            badge(key["state"]),
            moment(key["validFrom"], "always"),
            moment(key["validUntil"], "no end"),
            moment(key["lastUsedAt"], "never") if key["stored"] else moment(None),
            number(key["usageCount"]),
            _switches(request, key),
        )
        for key in one["keyStates"]
    ]
    columns = [
        "Key",
        "Name",
        "State",
        "Counts from",
        "Counts until",
        "Last used",
        Column("Uses", right=True),
        "",
    ]
    return table("Keys", columns, rows, nothing="No key: what this source sends cannot be checked")


def _switches(request: Request, key: dict[str, Any]) -> Html:
    if not key["stored"]:
        return Html("")
    path, off = within(_ONE, id=key["id"]), key["state"] == "off"
    gone = f"Revoke the key {key['id']}? What is signed with it is refused at once, until it is used again."
    turned = action(
        request.identity,
        _MANAGE,
        "Use again" if off else "Revoke",
        path,
        method="PATCH",
        body={"isActive": off},
        confirm=f"Let the key {key['id']} count again?" if off else gone,
        look="plain" if off else "bad",
    )
    thrown = action(
        request.identity,
        _MANAGE,
        "Delete",
        path,
        method="DELETE",
        confirm=f"Delete the key {key['id']} for good? What is signed with it is refused at once.",
        look="bad",
    )
    return join(("" if key["state"] == "ended" else turned, thrown), " ")


def _rotations(request: Request, one: dict[str, Any]) -> list[Html]:
    """Return one form per name: the next version replaces the newest, which comes first in the list."""
    if not request.identity.may(_MANAGE):
        return []
    newest: dict[str, dict[str, Any]] = {}
    for key in one["keyStates"]:
        if key["stored"]:
            newest.setdefault(key["name"], key)
    return [
        more(
            f"Rotate {name}",
            form(
                request.identity,
                _MANAGE,
                "Rotate",
                within(_ONE + "/rotate", id=key["id"]),
                field("The next key", "key", kind="password", required=True),
                choice("Written as", "keyEncoding", _ENCODINGS),
                field("The one before counts on, in seconds", "overlapSeconds", _DAY, kind="number"),
                confirm=f"Use the new key for {one['name']}?",
            ),
        )
        for name, key in newest.items()
    ]


def _addition(request: Request, one: dict[str, Any]) -> Html:
    if not one["takesStoredKeys"]:
        hint = "Set stored_keys = true for it to keep keys in the database, sealed"
        return empty("This source takes its keys from the file alone", hint)
    return form(
        request.identity,
        _MANAGE,
        "Add",
        _KEYS,
        field("Key", "key", kind="password", required=True),
        field("Name", "name", hint="default", kind="text"),
        choice("Written as", "keyEncoding", _ENCODINGS),
        field("Description", "description", kind="text"),
        field("Counts from (UTC; at once if empty)", "validFrom", kind="datetime-local"),
        field("Counts until (UTC; no end if empty)", "validUntil", kind="datetime-local"),
        body={"source": one["name"]},
    )
