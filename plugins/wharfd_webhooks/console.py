"""The plugin's pages of the console: endpoints, and deliveries with why they are where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wharfd import ConsolePage, NotFound, Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    address,
    badge,
    block,
    card,
    choice,
    code,
    duration,
    empty,
    facts,
    field,
    join,
    link,
    moment,
    number,
    pager,
    pretty,
    search,
    stack,
    table,
    tag,
)

DELIVERIES = "/console/webhooks/deliveries"
_ONE = "/api/v1/deliveries/{id}"
_LINEAGE = "/api/v1/lineage/{id}"
_WRITE = "webhooks:write"
_OPEN = ("pending", "retrying", "parked")
_STATUSES = ("", "pending", "retrying", "delivered", "failed", "parked", "cancelled")


async def render_endpoints(ctx: Any, request: Request) -> Html:
    """List the endpoints and how they answer."""
    found = await ask(ctx, request, "/api/v1/webhooks", limit=200)
    rows = [
        (
            link(one["url"], address(DELIVERIES, webhookId=one["id"])),
            one["userId"] or "house",
            badge(one["status"]),
            badge(one["breaker"].replace("_", " "), "good" if one["breaker"] == "closed" else "bad"),
            tag("span", *(tag("div", code(event)) for event in one["events"])),
            number(one["failureCount"]),
            moment(one["lastSuccessAt"], "never"),
            tag("span", one["statusReason"] or one["lastError"] or ""),
            _switches(request, one),
        )
        for one in found
    ]
    columns = [
        "Endpoint",
        "Owner",
        "Status",
        "Breaker",
        "Events",
        Column("Failures", right=True),
        "Last success",
    ]
    listed = table(
        "Endpoints",
        [*columns, Column("Reason", wide=True), ""],
        rows,
        nothing="No endpoint yet; add one with POST /api/v1/webhooks",
    )
    return card("Endpoints", listed)


def _switches(request: Request, one: dict[str, Any]) -> Html:
    path = "/api/v1/webhooks/{id}/"
    test = within(path + "test", id=one["id"])
    if one["status"] != "active":
        return action(request.identity, _WRITE, "Enable", within(path + "enable", id=one["id"]))
    asked = f"Pause deliveries to {one['url']}? They are parked until it is enabled."
    pause = within(path + "pause", id=one["id"])
    buttons = (
        action(request.identity, _WRITE, "Test", test, confirm=f"Send a test event to {one['url']}?"),
        action(request.identity, _WRITE, "Pause", pause, confirm=asked),
    )
    return join(buttons, " ")


async def render_deliveries(ctx: Any, request: Request) -> Html:
    """List deliveries that match, or explain the one that was chosen."""
    chosen = wanted(request, "id")
    if chosen:
        return await _delivery(ctx, request, chosen)
    given = {name: wanted(request, name) for name in ("status", "event", "webhookId")}
    trace = wanted(request, "trace")
    page: dict[str, Any]
    if trace:
        page = {"items": await _of_trace(ctx, request, trace, given)}
    else:
        page = await ask(ctx, request, "/api/v1/deliveries", **given, cursor=wanted(request, "cursor"))
    form = search(
        DELIVERIES,
        choice("Status", "status", [(status, status or "any") for status in _STATUSES], given["status"]),
        field("Event", "event", given["event"]),
        field("Endpoint", "webhookId", given["webhookId"], hint="wh_…"),
        field("Trace", "trace", trace, hint="a trace, or any id on it"),
    )
    rows = [
        (
            moment(one["createdAt"]),
            link(one["event"], address(DELIVERIES, id=one["id"])),
            badge(one["status"]),
            number(one["attempts"]),
            number(one["responseCode"]),
            moment(one["nextRetryAt"]),
            code(one["webhookId"]),
            tag("span", one["error"] or ""),
        )
        for one in page["items"]
    ]
    columns = [
        "Created",
        "Event",
        "Status",
        Column("Tries", right=True),
        Column("Answer", right=True),
        "Next try",
    ]
    listed = table(
        "Deliveries",
        [*columns, "Endpoint", Column("Error", wide=True)],
        rows,
        nothing="No delivery matches; leave a filter out, or send a test to an endpoint",
    )
    return card("Deliveries", form, listed, pager(DELIVERIES, page.get("next_cursor"), **given))


async def _of_trace(ctx: Any, request: Request, trace: str, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the deliveries of a trace that match; none when nothing carries it."""
    try:
        found = await ask(ctx, request, within(_LINEAGE, id=trace))
    except NotFound:
        return []
    made = [one["delivery"] for message in found["messages"] for one in message["deliveries"]]
    return [one for one in made if all(one[name] == value for name, value in given.items() if value)]


async def _lineage(ctx: Any, request: Request, delivery: str) -> Html:
    """Show what arrived, the event it became, and this delivery of it, each with the way to it."""
    title = "Where it comes from"
    try:
        found = await ask(ctx, request, within(_LINEAGE, id=delivery))
    except NotFound:
        return card(title, empty("Not known any more", "Its event is older than what is kept"))
    trace = found["traceId"]
    follow = link("All of this trace", address(DELIVERIES, trace=trace), class_="button") if trace else ""
    return card(title, _chain(found, delivery), actions=follow)


def _chain(found: Mapping[str, Any], delivery: str) -> Html:
    rows: list[tuple[object, ...]] = [
        (
            "Provider’s event",
            moment(origin["receivedAt"]),
            f"{origin['name'] or 'unnamed'} from {origin['source']}",
            link(code(origin["id"]), origin["page"]),
            badge(origin["state"]),
        )
        for origin in found["origins"]
    ]
    for entry in found["messages"]:
        message, made = entry["message"], [one["delivery"] for one in entry["deliveries"]]
        if not any(one["id"] == delivery for one in made):
            continue
        where = link(code(message["id"]), address(DELIVERIES, trace=message["id"]))
        rows.append(("Event", moment(message["createdAt"]), message["type"], where, ""))
        for one in made:
            here = one["id"] == delivery
            name = code(one["id"]) if here else link(code(one["id"]), address(DELIVERIES, id=one["id"]))
            step = "This delivery" if here else "Another delivery of it"
            to = join(("to ", link(code(one["webhookId"]), address(DELIVERIES, webhookId=one["webhookId"]))))
            rows.append((step, moment(one["createdAt"]), to, name, badge(one["status"])))
    return table("Lineage", ["Step", "When", Column("What", wide=True), "Id", "State"], rows)


async def _delivery(ctx: Any, request: Request, delivery: str) -> Html:
    found = await ask(ctx, request, within(_ONE + "/explain", id=delivery))
    whole = await ask(ctx, request, within(_ONE, id=delivery))
    one = found["delivery"]
    known = facts(
        [
            ("Status", badge(one["status"])),
            ("Event", one["event"]),
            ("Endpoint", link(one["webhookId"], address(DELIVERIES, webhookId=one["webhookId"]))),
            ("Message", code(one["messageId"])),
            ("Created", moment(one["createdAt"])),
            ("Last try", moment(one["lastAttemptAt"])),
            ("Next try", moment(one["nextRetryAt"])),
        ]
    )
    rows = [
        (
            number(attempt["number"]),
            moment(attempt["startedAt"]),
            badge(attempt["outcome"]),
            duration(None if attempt["durationMs"] is None else attempt["durationMs"] / 1000),
            number(attempt["responseCode"]),
            tag("span", attempt["error"] or ""),
            block(attempt["responseBody"]) if attempt["responseBody"] else "",
        )
        for attempt in found["attempts"]
    ]
    columns = [
        Column("No", right=True),
        "Started",
        "Outcome",
        Column("Took", right=True),
        Column("Answer", right=True),
    ]
    tries = table(
        "Attempts", [*columns, "Error", Column("Said", wide=True)], rows, nothing="It was not tried yet"
    )
    buttons = join(
        (
            action(
                request.identity,
                _WRITE,
                "Send again",
                within(_ONE + "/resend", id=delivery),
                confirm="Send this event to the endpoint once more?",
            ),
            action(
                request.identity,
                _WRITE,
                "Cancel",
                within(_ONE + "/cancel", id=delivery),
                confirm="Give this delivery up?",
                look="bad",
            )
            if one["status"] in _OPEN
            else "",
        )
    )
    return stack(
        link("← All deliveries", DELIVERIES),
        card(delivery, known, actions=buttons),
        card("Why it is where it is", tag("ul", *(tag("li", reason) for reason in found["reasons"]))),
        await _lineage(ctx, request, delivery),
        card("Attempts", tries),
        card("Payload", pretty(whole.get("payload"))),
    )


PAGES = [
    ConsolePage(
        path="webhooks/endpoints", title="Endpoints", render=render_endpoints, icon="send", order=300
    ),
    ConsolePage(
        path="webhooks/deliveries", title="Deliveries", render=render_deliveries, icon="deliveries", order=310
    ),
]
