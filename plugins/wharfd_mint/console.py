"""The plugin's pages of the console: mints with their transactions, and buyers with what is sold."""

from __future__ import annotations

from typing import Any

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
    figure,
    grid,
    join,
    link,
    meter,
    moment,
    notice,
    number,
    pager,
    pretty,
    search,
    stack,
    table,
)

from .model.money import in_words

MINTS, BUYERS = "/console/mint/mints", "/console/mint/buyers"
_API = "/api/v1/mints"
_ACTIVATE, _OPERATE = "mint:activate", "mint:operate"
_STATES = ("", "ready", "running", "done", "held", "buried", "cancelled")
_STATUSES = [
    (one, one.replace("_", " ") or "any") for one in ("", "active", "pending_wire", "refunded", "expired")
]


async def render_mints(ctx: Any, request: Request) -> Html:
    """List mints that match and what waits for a person, or show the one that was chosen."""
    chosen = wanted(request, "license")
    if chosen:
        return await _mint(ctx, request, chosen)
    state = wanted(request, "state")
    page = await ask(ctx, request, _API, state=state, cursor=wanted(request, "cursor"), limit=50)
    payments = await _open_payments(ctx, request)
    rows = [
        (
            moment(one["createdAt"]),
            link(one["licenseId"], address(MINTS, license=one["licenseId"])),
            badge(one["state"]),
            one["stage"],
            one["tier"],
            code(one["tokenId"] or "–"),
            number(one["attempts"]),
            one["trouble"] or one["lastError"] or "",
        )
        for one in page["items"]
    ]
    columns = ["Created", "License", "State", "Stage", "Tier", "Token", Column("Tries", right=True)]
    listed = table(
        "Mints", [*columns, Column("Trouble", wide=True)], rows, nothing="No mint matches"
    )  # fmt: skip
    form = search(MINTS, choice("State", "state", [(name, name or "any") for name in _STATES], state))
    return stack(
        _payments(request, payments) if payments else "",
        card("Mints", form, listed, pager(MINTS, page.get("next_cursor"), state=state)),
    )


async def _open_payments(ctx: Any, request: Request) -> list[dict[str, Any]]:
    if not request.identity.may(_OPERATE):
        return []
    found: list[dict[str, Any]] = (await ask(ctx, request, "/api/v1/mint/payments"))["items"]
    return found


def _payments(request: Request, payments: list[dict[str, Any]]) -> Html:
    rows = [
        (
            moment(one["at"]),
            one["kind"],
            code(one["licenseId"] or "–"),
            in_words(one["amount"], one["currency"]),
            one["outcome"],
            action(
                request.identity, _OPERATE, "Dealt with",
                within("/api/v1/mint/payments/{id}/settle", id=one["eventId"]),
                confirm="Was this payment looked into, and nothing is left to do?",
            ),
        )
        for one in payments
    ]  # fmt: skip
    columns = [
        "Paid",
        "Kind",
        "License",
        Column("Amount", right=True),
        Column("What is wrong", wide=True),
    ]
    note = "They were taken, and no mint could follow by itself."
    return card("Payments for a person", table("Payments", [*columns, ""], rows), note=note)


async def _mint(ctx: Any, request: Request, license_id: str) -> Html:
    one = await ask(ctx, request, within(_API + "/{id}", id=license_id))
    known = facts(
        [
            ("State", badge(one["state"])),
            ("Stage", one["stage"]),
            ("Wallet", code(one["wallet"])),
            ("Tier", one["tier"]),
            ("Minter", one["minter"]),
            ("Token", code(one["tokenId"] or "–")),
            ("Transaction", code(one["txHash"] or "–")),
            ("Block", number(one["block"])),
            ("Delivered", moment(one["deliveredAt"], "not yet")),
            ("Looked at", moment(one["checkedAt"], "not yet")),
            ("Next look", moment(one["dueAt"])),
        ]
    )
    rows = [
        (
            moment(sent["signedAt"]),
            sent["kind"],
            number(sent["nonce"]),
            code(sent["hash"]),
            number(sent["sent"]),
            sent["endpoint"] or "–",
            number(sent["block"]),
            badge("reorged", "warn") if sent["reorged"] else _mined(sent["minedOk"]),
            sent["error"] or "",
        )
        for sent in one["transactions"]
    ]
    columns = [
        "Signed",
        "Kind",
        Column("Nonce", right=True),
        Column("Hash", wide=True),
        Column("Sent", right=True),
    ]
    columns += ["Endpoint", Column("Block", right=True), "Result", Column("Error", wide=True)]
    return stack(
        link("← All mints", MINTS),
        notice(one["trouble"], "warn") if one["trouble"] else "",
        card(license_id, known, actions=_buttons(request, one)),
        card(
            "Transactions",
            table("Transactions", columns, rows, nothing="None was signed yet"),
            note="Every transaction that was signed for this license. All of one nonce exclude each other.",
        ),
        card("History", pretty(one["history"])) if one["history"] else "",
    )


def _mined(ok: bool | None) -> Html:
    return badge("open", "info") if ok is None else badge("succeeded" if ok else "failed")


def _buttons(request: Request, one: dict[str, Any]) -> Html:
    if one["state"] in ("done", "cancelled"):
        return Html("")
    path = within(_API + "/{id}/", id=one["licenseId"])
    again = action(
        request.identity, _ACTIVATE, "Try again", path + "retry",
        confirm="Try this mint again now? What is on the chain is looked at first.",
    )  # fmt: skip
    hold = action(
        request.identity, _ACTIVATE, "Hold", path + "hold", body={"reason": "held from the console"},
        confirm="Leave this mint alone until it is tried again?",
    )  # fmt: skip
    return join((again, "" if one["state"] == "held" else hold), " ")


async def render_buyers(ctx: Any, request: Request) -> Html:
    """List buyers that match, and how much of each tier is left."""
    given = {name: wanted(request, name) for name in ("status", "tier", "wallet")}
    page = await ask(ctx, request, "/api/v1/buyers", **given, cursor=wanted(request, "cursor"), limit=50)
    tiers = (await ask(ctx, request, "/api/v1/mint/tiers"))["items"]
    form = search(
        BUYERS,
        choice("Status", "status", _STATUSES, given["status"]),
        field("Tier", "tier", given["tier"]),
        field("Wallet", "wallet", given["wallet"], hint="0x…"),
    )  # fmt: skip
    rows = [
        (
            moment(one["createdAt"]),
            link(one["licenseId"], address(MINTS, license=one["licenseId"])),
            badge(one["status"].replace("_", " "), "warn" if one["status"] == "pending_wire" else None),
            one["tier"],
            code(one["wallet"]),
            one["paymentMethod"] or "–",
            one["nextStep"],
            moment(one["deliveredAt"], "not yet"),
        )
        for one in page["items"]
    ]
    columns = ["Since", "License", "Status", "Tier", Column("Wallet", wide=True), "Paid by", "Next step"]
    listed = table("Buyers", [*columns, "Delivered"], rows, nothing="No buyer matches")
    download = link("As CSV", "/api/v1/mint/buyers.csv", class_="button")
    return stack(
        grid(*(_tier(one) for one in tiers)) if tiers else "",
        card("Buyers", form, listed, pager(BUYERS, page.get("next_cursor"), **given), actions=download),
    )


def _tier(one: dict[str, Any]) -> Html:
    if one["cap"] is None:
        return figure(one["tier"], number(one["taken"]), "sold, no cap")
    bar = meter(one["taken"] / max(one["cap"], 1), f"{one['taken']} of {one['cap']}")
    return figure(one["tier"], number(one["left"]), f"left of {number(one['cap'])}", drawing=bar)


PAGES = [
    ConsolePage(
        path="mint/mints", title="Mints", render=render_mints, icon="mint", order=500, live_seconds=3
    ),
    ConsolePage(path="mint/buyers", title="Buyers", render=render_buyers, icon="buyers", order=510),
]
