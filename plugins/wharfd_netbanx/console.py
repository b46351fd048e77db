"""The plugin's pages of the console: stored events with search and detail, and the sources."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, NotFound, Request, Unavailable
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
    empty,
    facts,
    field,
    link,
    moment,
    notice,
    number,
    pager,
    pretty,
    search,
    stack,
    table,
    tag,
)

from .api.origins import EVENTS_PAGE as EVENTS
from .console_sources import render_sources

DELIVERIES = "/console/webhooks/deliveries"
_API = "/api/v1/webhook-events"
_FILTERS = ("source", "name", "state", "merchantRefNum", "resourceId")
_STATES = ("", "ready", "running", "done", "buried")
_REPLAY = "webhook_events:replay"


async def render_events(ctx: Any, request: Request) -> Html:
    """List stored events that match, or show the one that was chosen."""
    chosen = wanted(request, "id")
    if chosen:
        return await _event(ctx, request, chosen)
    given = {name: wanted(request, name) for name in _FILTERS}
    page = await ask(ctx, request, _API, **given, cursor=wanted(request, "cursor"), limit=50)
    form = search(
        EVENTS,
        field("Source", "source", given["source"]),
        field("Event", "name", given["name"]),
        choice("State", "state", [(state, state or "any") for state in _STATES], given["state"]),
        field("Merchant reference", "merchantRefNum", given["merchantRefNum"]),
        field("Resource", "resourceId", given["resourceId"]),
    )
    rows = [
        (
            moment(one["receivedAt"]),
            one["source"],
            link(one["name"] or "unnamed", address(EVENTS, id=one["id"])),
            badge(one["state"]),
            code(one["merchantRefNum"] or "–"),
            number(one["attempts"]),
            tag("span", one["lastError"] or ""),
        )
        for one in page["items"]
    ]
    columns = ["Received", "Source", "Event", "State", "Reference", Column("Tries", right=True)]
    listed = table(
        "Stored events",
        [*columns, Column("Last error", wide=True)],
        rows,
        nothing="No event matches; leave a filter out, or send a sample to a source",
    )
    return card("Stored events", form, listed, pager(EVENTS, page.get("next_cursor"), **given))


async def _event(ctx: Any, request: Request, event: str) -> Html:
    one = await ask(ctx, request, within(_API + "/{id}", id=event))
    again = action(
        request.identity,
        _REPLAY,
        "Work again",
        f"{_API}/replay",
        body={"ids": [event], "dryRun": False},
        confirm="Put this event back to be worked? What it led to is worked out anew.",
    )
    known = facts(
        [
            ("State", badge(one["state"])),
            ("Event", one["name"]),
            ("Source", one["source"]),
            ("Received", moment(one["receivedAt"])),
            ("Worked", moment(one["finishedAt"])),
            ("Signature", one["verdict"]),
            ("Key", code(one["keyId"] or "–")),
            ("Resource", code(one["resourceId"] or "–")),
            ("Merchant reference", code(one["merchantRefNum"] or "–")),
            ("Copies", number(one["copies"])),
            ("Tries", number(one["attempts"])),
            ("Trace", code(one["traceId"] or "–")),
        ]
    )
    body = one["body"] if one["body"] is not None else "(not text; see bodyBase64 in the API)"
    states = [(state["kind"], code(state["id"]), badge(state["status"])) for state in one["ledTo"]]
    return stack(
        link("← All events", EVENTS),
        notice(one["lastError"], "bad") if one["lastError"] else "",
        *(notice(note, "warn") for note in one["notes"]),
        card(event, known, actions=again),
        card("Body", block(body), note="As it arrived, byte for byte."),
        card(
            "What it led to",
            table("What it led to", ["Kind", "Id", "State"], states, nothing="Nothing yet"),
        ),
        await _deliveries(ctx, request, event),
        card(
            "History", pretty(one["history"]) if one["history"] else tag("p", "No failed try", class_="soft")
        ),
    )


async def _deliveries(ctx: Any, request: Request, event: str) -> Html:
    """Show the events and the deliveries to customers that this event led to, where something delivers."""
    title = "Deliveries it led to"
    try:
        found = await ask(ctx, request, within("/api/v1/lineage/{id}", id=event))
    except NotFound:
        return card(title, empty("Nothing delivers", "The plugin webhooks tells customers of events"))
    except Unavailable as problem:
        return card(title, notice(f"This cannot be told now: {problem}", "warn"))
    rows = [
        (
            moment(one["createdAt"]),
            one["event"],
            link(code(one["id"]), address(DELIVERIES, id=one["id"])),
            badge(one["status"]),
            number(one["attempts"]),
            number(one["responseCode"]),
            code(one["webhookId"]),
        )
        for message in found["messages"]
        for one in (made["delivery"] for made in message["deliveries"])
    ]
    columns = ["Created", "Event", "Delivery", "Status", Column("Tries", right=True)]
    told = ", ".join(dict.fromkeys(message["message"]["type"] for message in found["messages"]))
    hint = f"{told}: no endpoint asks for it" if told else "It was not worked yet, or changed nothing"
    listed = table(
        title,
        [*columns, Column("Answer", right=True), "Endpoint"],
        rows,
        nothing=empty("No delivery", hint),
    )
    trace = found["traceId"]
    follow = link("All of this trace", address(DELIVERIES, trace=trace), class_="button") if trace else ""
    return card(title, listed, actions=follow)


PAGES = [
    ConsolePage(path="netbanx/events", title="Events", render=render_events, icon="events", order=200),
    ConsolePage(path="netbanx/sources", title="Sources", render=render_sources, icon="sources", order=210),
]
