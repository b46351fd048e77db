"""The plugin's page of the console: batches, and how far one is, as it goes."""

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
    code,
    facts,
    figure,
    grid,
    join,
    link,
    meter,
    moment,
    notice,
    number,
    pager,
    stack,
    table,
    tag,
)

BATCHES = "/console/orders/batches"
_API = "/api/v1/bulk-orders"
_WRITE, _APPROVE = "orders:write", "orders:approve"
_OVER = ("finishing", "finished")


async def render_batches(ctx: Any, request: Request) -> Html:
    """List batches, or show the one that was chosen."""
    chosen = wanted(request, "id")
    if chosen:
        return await _batch(ctx, request, chosen)
    page = await ask(ctx, request, _API, cursor=wanted(request, "cursor"), limit=50)
    rows = [
        (
            moment(one["createdAt"]),
            link(one["label"] or one["batchId"], address(BATCHES, id=one["batchId"])),
            badge(one["status"]),
            meter(_share(one), f"{one['processed']} of {one['total']} orders", _tone(one)),
            *(number(one[name]) for name in ("total", "succeeded", "failed", "pending")),
            _amounts(one),
            one["owner"] or "house",
        )
        for one in page["items"]
    ]
    columns = ["Created", Column("Batch", wide=True), "Status", "Progress"]
    columns += [Column(title, right=True) for title in ("Orders", "Succeeded", "Failed", "Pending", "Amount")]
    listed = table(
        "Batches", [*columns, "Owner"], rows,
        nothing="No batch yet; send one with: wharfd orders submit FILE --watch",
    )  # fmt: skip
    return card("Batches", listed, pager(BATCHES, page.get("next_cursor")))


async def _batch(ctx: Any, request: Request, batch: str) -> Html:
    one = await ask(ctx, request, within(_API + "/{batch}", batch=batch))
    progress = await ask(ctx, request, within(_API + "/{batch}/progress", batch=batch))
    failed = await ask(ctx, request, within(_API + "/{batch}/orders", batch=batch), which="failed", limit=50)
    rows = one["source"]["rows"]
    bar = meter(_share(one), f"{one['processed']} of {one['total']} orders", _tone(one))
    figures = grid(
        figure("Done", f"{progress['percent']:g} %", f"{number(one['processed'])} of {number(one['total'])}"),
        figure("Succeeded", number(one["succeeded"]), tone="good" if one["succeeded"] else "plain"),
        figure("Failed", number(one["failed"]), tone="bad" if one["failed"] else "plain"),
        figure("Unknown", number(one["unknown"]), "outcome not known", "warn" if one["unknown"] else "plain"),
        figure("Speed", f"{number(round(progress['ordersPerSecond'], 1))} /s", "orders"),
    )
    known = facts(
        [
            ("Status", badge(one["status"])),
            ("Expected end", moment(progress["estimatedCompletion"])),
            ("Executor", one["executor"]),
            ("Amount", _amounts(one)),
            ("File", f"{one['source']['format']}, {number(rows)} row{'' if rows == 1 else 's'}"),
            ("Content", code(one["contentSha256"])),
            ("Sent by", one["createdBy"]),
            ("Created", moment(one["createdAt"])),
            ("Started", moment(one["startedAt"], "not yet")),
            ("Completed", moment(one["completedAt"], "not yet")),
            ("Results until", moment(one["resultsExpireAt"])),
        ]
    )
    return stack(
        link("← All batches", BATCHES),
        notice("It waits for a second person's approval", "warn") if _waits_for_approval(one) else "",
        notice(one["error"], "bad") if one["error"] else "",
        figures,
        card(one["label"] or batch, bar, known, actions=_buttons(request, one)),
        card("Failed orders", _failed(failed["items"]), actions=_downloads(batch, one)),
    )


def _failed(items: list[dict[str, Any]]) -> Html:
    rows = [
        (number(one["row"]), code(one["clientRef"] or "–"), badge(one["status"]), code(one["code"] or "–"),
         number(one["attempts"]), one["error"] or "")
        for one in items
    ]  # fmt: skip
    columns = [Column("Row", right=True), "Reference", "Status", "Code", Column("Tries", right=True)]
    return table("Failed orders", [*columns, Column("Error", wide=True)], rows, nothing="No order failed")


def _buttons(request: Request, one: dict[str, Any]) -> Html:
    def button(label: str, verb: str, scope: str = _WRITE, confirm: str = "", look: Any = "plain") -> Html:
        path = within(_API + "/{batch}/", batch=one["batchId"]) + verb
        return action(request.identity, scope, label, path, confirm=confirm, look=look)

    found = []
    if _waits_for_approval(one):
        found.append(button("Approve", "approve", _APPROVE, "Let this batch be carried out?", "primary"))
    if one["phase"] == "paused":
        found.append(button("Resume", "resume"))
    elif one["phase"] == "running":
        found.append(button("Pause", "pause"))
    if one["phase"] not in _OVER:
        found.append(button("Cancel", "cancel", confirm="Cancel all orders that have not begun?", look="bad"))
    elif one["failed"] > one["skipped"]:
        found.append(button("Retry failed", "retry", confirm="Try the orders that failed again?"))
    return join(found, " ")


def _downloads(batch: str, one: dict[str, Any]) -> Html:
    if one["phase"] not in _OVER:
        return Html("")
    path = within(_API + "/{batch}/results", batch=batch)
    kinds = (("All results", "all"), ("Failed", "failed"), ("Unprocessed", "unprocessed"))
    return tag(
        "span",
        *(link(words, address(path, which=which, format="csv"), class_="button") for words, which in kinds),
        class_="actions",
    )


def _waits_for_approval(one: dict[str, Any]) -> bool:
    return bool(one["needsApproval"]) and one["approvedAt"] is None and one["phase"] not in _OVER


def _share(one: dict[str, Any]) -> float:
    return one["processed"] / one["total"] if one["total"] else 0.0


def _tone(one: dict[str, Any]) -> Any:
    return "warn" if one["failed"] else "good"


def _amounts(one: dict[str, Any]) -> str:
    return ", ".join(f"{amount['text']} {currency}" for currency, amount in one["amounts"].items()) or "–"


PAGES = [
    ConsolePage(
        path="orders/batches",
        title="Batches",
        render=render_batches,
        icon="batches",
        order=400,
        live_seconds=2,
    )
]
