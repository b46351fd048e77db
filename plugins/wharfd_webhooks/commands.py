"""`wharfd deliveries …`: what was sent, why not, and sending it again."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from wharfd import Command, Output

_COLUMNS = ["id", "event", "status", "attempts", "responseCode", "error"]


def commands() -> list[Command]:
    """Return the command groups."""
    return [
        Command(
            name="deliveries",
            summary="look at webhook deliveries, explain them, send them again",
            configure=_configure,
            run=_run,
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    found = actions.add_parser("list", help="list deliveries, the newest first (the default)")
    found.add_argument("--webhook", help="of this endpoint only")
    found.add_argument("--status", help="pending, retrying, delivered, failed, parked or cancelled")
    found.add_argument("--event", help="of this event type only")
    found.add_argument("--since", help="made at or after this time, such as 2026-01-31T12:00:00Z")
    found.add_argument("--limit", type=int, default=50)
    for action, words in (
        ("show", "show a delivery with every attempt"),
        ("explain", "say why a delivery was not delivered"),
        ("resend", "send a delivery once more"),
        ("retry", "try a delivery again with all its tries"),
        ("cancel", "do not send a delivery any more"),
    ):
        actions.add_parser(action, help=words).add_argument("id", help="dlv_…")
    trace = actions.add_parser("lineage", help="follow a provider's webhook to every send, and back")
    trace.add_argument("id", help="of the webhook, an event, a delivery or a trace")
    recover = actions.add_parser("recover", help="count what an endpoint missed since a time, or send it")
    recover.add_argument("webhook", help="wh_…")
    recover.add_argument("--since", required=True, help="such as 2026-01-31T12:00:00Z")
    recover.add_argument("--until")
    recover.add_argument("--include", action="append", help="failed, missing, parked, cancelled, delivered")
    recover.add_argument("--per-second", type=float, default=20.0)
    recover.add_argument("--run", action="store_true", help="send; without it they are only counted")


def _run(arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    action = arguments.action or "list"
    if action == "list":
        query = {
            name: getattr(arguments, option, None)
            for name, option in (
                ("webhookId", "webhook"),
                ("status", "status"),
                ("event", "event"),
                ("since", "since"),
                ("limit", "limit"),
            )
        }
        rows = client.get("/api/v1/deliveries", **query)["items"]
        output.table(rows, _COLUMNS, empty="no deliveries")
        return 0
    if action == "recover":
        return _recover(arguments, client, output)
    wanted = quote(arguments.id, safe="")
    if action == "lineage":
        return _lineage(client.get(f"/api/v1/lineage/{wanted}"), output)
    if action in ("show", "explain"):
        answer = client.get(f"/api/v1/deliveries/{wanted}/explain")
        if output.as_json:
            output.json(answer)
            return 0
        output.facts(answer["delivery"])
        for reason in answer["reasons"]:
            output.line(f"- {reason}")
        if action == "show":
            columns = ["number", "outcome", "trigger", "startedAt", "durationMs", "responseCode", "error"]
            output.table(answer["attempts"], columns, empty="no attempts")
        return 0
    answer = client.post(f"/api/v1/deliveries/{wanted}/{action}")
    output.facts(answer)
    return 0 if answer["success"] else 1


def _recover(arguments: argparse.Namespace, client: Any, output: Output) -> int:
    body: dict[str, Any] = {
        "since": arguments.since,
        "perSecond": arguments.per_second,
        "dryRun": not arguments.run,
    }
    if arguments.until:
        body["until"] = arguments.until
    if arguments.include:
        body["include"] = arguments.include
    answer = client.post(f"/api/v1/webhooks/{quote(arguments.webhook, safe='')}/recover", body)
    output.facts(answer)
    if not arguments.run:
        output.line("nothing was sent; add --run to send")
    return 0


def _lineage(answer: Any, output: Output) -> int:
    if output.as_json:
        output.json(answer)
        return 0
    for origin in answer["origins"]:
        what = f"{origin['name']} from {origin['source']}: {origin['state']}"
        output.line(f"{origin['receivedAt']}  {origin['id']}  {what}")
    for entry in answer["messages"]:
        message = entry["message"]
        output.line(f"{message['createdAt']}  {message['id']}  {message['type']}  ({message['source']})")
        for made in entry["deliveries"]:
            one = made["delivery"]
            output.line(f"    {one['id']} → {one['webhookId']}: {one['status']}")
            for send in made["attempts"]:
                status = send["responseCode"] or send["errorKind"] or ""
                output.line(f"        {send['number']}. {send['startedAt']} {send['outcome']} {status}")
    return 0
