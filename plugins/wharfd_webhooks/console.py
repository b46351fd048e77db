"""The plugin's pages of the console: endpoints, and deliveries with why they are where they are."""

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
    block,
    card,
    choice,
    code,
    duration,
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
_WRITE = "webhooks:write"
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
    page = await ask(ctx, request, "/api/v1/deliveries", **given, cursor=wanted(request, "cursor"))
    form = search(
        DELIVERIES,
        choice("Status", "status", [(status, status or "any") for status in _STATUSES], given["status"]),
        field("Event", "event", given["event"]),
        field("Endpoint", "webhookId", given["webhookId"], hint="wh_…"),
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
            ),
        )
    )
    return stack(
        link("← All deliveries", DELIVERIES),
        card(delivery, known, actions=buttons),
        card("Why it is where it is", tag("ul", *(tag("li", reason) for reason in found["reasons"]))),
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
