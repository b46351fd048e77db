"""`wharfd retention` and `wharfd archive`."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from wharfd import Client, Command, Output

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 610.0
_OUTCOME = [
    "rule",
    "rows",
    "about_total",
    "bytes",
    "oldest",
    "newest",
    "archived",
    "deleted",
    "errors",
    "said",
]


def _configure_retention(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("policies", help="how long rows are kept")
    plan = actions.add_parser("plan", help="what would go now; nothing is deleted")
    run = actions.add_parser("run", help="archive and delete now")
    run.add_argument("--force", action="store_true", help="also what is new, or unusually much")
    for one in (plan, run):
        one.add_argument("--rule", help="only this one, such as netbanx.events")
    actions.add_parser("runs", help="what was done")
    actions.add_parser("holds", help="list the legal holds")
    hold = actions.add_parser("hold", help="keep rows from being deleted")
    hold.add_argument("table", help="schema.table, or * for all")
    hold.add_argument("--reason", required=True)
    hold.add_argument("--owner", help="only this owner's rows")
    hold.add_argument("--key", help="only this row")
    hold.add_argument("--until", help="when it ends, such as 2027-06-30T00:00:00Z")
    release = actions.add_parser("release", help="end a legal hold")
    release.add_argument("id")
    back = actions.add_parser("put-back", help="put a month that is out, and not dropped yet, into its table")
    back.add_argument("id", help="arc_…, as wharfd archive list shows it")
    back.add_argument("--reason", required=True)
    back.add_argument("--until", help="no run takes it before, such as 2027-06-30T00:00:00Z; 30 days without")


def _retention(arguments: argparse.Namespace, client: Client) -> int:
    output, at = Output(as_json=arguments.json), "/api/v1/retention"
    if arguments.action == "policies":
        rows = client.get(f"{at}/policies")["policies"]
        output.table(rows, ["name", "table", "keep_days", "archive", "partitioned", "where"])
    elif arguments.action in ("plan", "run"):
        forced = getattr(arguments, "force", False)
        body = {"dry_run": arguments.action == "plan", "force": forced, "rule": arguments.rule}
        answer = client.post(f"{at}/runs", body)
        while answer["status"] in ("waiting", "running"):  # it goes on without us; we only look on
            threading.Event().wait(_LOOK_SECONDS)
            answer = _look(client, answer, output)
        if output.as_json:
            output.json(answer)
        else:
            if answer["status"] != "error":
                _show_outcomes(output, list(answer["rules"].values()))
            output.line(f"{answer['run']}: {answer['message']}")
        failed = [rule["rule"] for rule in answer["rules"].values() if rule["errors"]]
        if failed:
            sys.stderr.write(f"wharfd: not all went well: {', '.join(failed)}\n")
        return 1 if failed or answer["status"] == "error" else 0
    elif arguments.action == "runs":
        output.table(
            client.get(f"{at}/runs")["runs"], ["id", "actor", "dry", "rule", "state", "asked_at", "error"]
        )
    elif arguments.action == "holds":
        columns = ["id", "source", "owner", "key", "reason", "made_by", "expires_at", "released_at"]
        output.table(client.get(f"{at}/holds")["holds"], columns, empty="nothing is held")
    elif arguments.action == "hold":
        body = {"table": arguments.table, "reason": arguments.reason, "owner": arguments.owner}
        output.facts(
            client.post(f"{at}/holds", {**body, "key": arguments.key, "expires_at": arguments.until})
        )
    elif arguments.action == "release":
        output.facts(client.call("DELETE", f"{at}/holds/{quote(arguments.id, safe='')}").json())
    else:
        asked = {"reason": arguments.reason, "until": arguments.until}
        path = f"/api/v1/archive/{quote(arguments.id, safe='')}/put-back"
        output.facts(_patiently(client, path, asked))
    return 0


def _show_outcomes(output: Output, rules: list[dict[str, Any]]) -> None:
    """Print the rules that did something or have something to say; the others are counted."""
    told = [rule for rule in rules if any(rule[name] for name in ("rows", "deleted", "errors", "said"))]
    output.table(sorted(told, key=lambda rule: str(rule["rule"])), _OUTCOME, empty="nothing is old enough")
    if told and len(told) < len(rules):
        output.line(f"of {len(rules) - len(told)} more rules nothing is old enough")


def _look(client: Client, before: dict[str, Any], output: Output) -> dict[str, Any]:
    run = client.get(f"/api/v1/retention/runs/{before['run']}")
    rules = run["result"]
    if rules != before["rules"]:
        archived, deleted = (sum(rule[name] for rule in rules.values()) for name in ("archived", "deleted"))
        output.line(f"{len(rules)} rules, {archived:,} rows archived, {deleted:,} deleted")
    status = {"done": "success", "failed": "error"}.get(run["state"], run["state"])
    return {"run": run["id"], "rules": rules, "status": status, "message": run["error"] or run["state"]}


def _configure_archive(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="what was archived (the default)")
    listed.add_argument("--table")
    parser.set_defaults(action="list", **vars(listed.parse_args([])))
    query = actions.add_parser("query", help="search archived rows; prints JSON Lines")
    query.add_argument("table")
    when = "such as 2026-01-01 or 2026-01-01T13:00:00Z"
    query.add_argument("--from", dest="first", required=True, type=_moment, help=when)
    query.add_argument("--to", dest="last", required=True, type=_moment, help=f"before it, {when}")
    query.add_argument(
        "--where", action="append", default=[], type=_pair, metavar="COLUMN=VALUE", help="repeat for more"
    )
    query.add_argument("--limit", type=int, default=100)
    restore = actions.add_parser("restore", help="put an archive's rows into a table beside their own")
    restore.add_argument("id")
    restore.add_argument("--until", help="when that table goes, such as 2027-06-30T00:00:00Z")
    verify = actions.add_parser("verify", help="read an archive back in every place; nothing is changed")
    verify.add_argument("id")
    actions.add_parser("rehydrated", help="list the tables that were made so, and when they go")
    drop = actions.add_parser("drop", help="drop such a table; the archive stays")
    drop.add_argument("id")


def _archive(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "list":
        rows = client.get("/api/v1/archive", table=arguments.table)["archives"]
        columns = [
            "id",
            "rule",
            "part",
            "state",
            "rows",
            "deleted",
            "stays_until",
            "first_at",
            "last_at",
            "error",
            "trouble",
        ]
        output.table(rows, columns, empty="nothing was archived")
    elif arguments.action == "query":
        body = {"table": arguments.table, "first": arguments.first, "last": arguments.last}
        asked = {**body, "where": dict(arguments.where), "limit": arguments.limit}
        answer = _patiently(client, "/api/v1/archive/query", asked)
        if output.as_json:
            output.json(answer["rows"])
            return 0
        for row in answer["rows"]:
            output.record(row)
        if answer["more"]:
            sys.stderr.write(
                f"wharfd: there are more than these {answer['count']}; --limit takes up to 10000\n"
            )
    elif arguments.action == "restore":
        asked = {"until": arguments.until}
        path = f"/api/v1/archive/{quote(arguments.id, safe='')}/restore"
        output.facts(_patiently(client, path, asked))
    elif arguments.action == "verify":
        answer = _patiently(client, f"/api/v1/archive/{quote(arguments.id, safe='')}/verify", {})
        places = {} if output.as_json else answer.pop("places")
        output.facts({**answer, **places})
        return 0 if answer["whole"] else 1
    elif arguments.action == "rehydrated":
        rows = client.get("/api/v1/archive/rehydrated")["rehydrated"]
        columns = ["id", "relation", "source", "rows", "made_by", "made_at", "ends_at"]
        output.table(rows, columns, empty="nothing lies beside its table")
    else:
        path = f"/api/v1/archive/rehydrated/{quote(arguments.id, safe='')}"
        output.facts(client.call("DELETE", path).json())
    return 0


def _patiently(client: Client, path: str, body: dict[str, Any]) -> Any:
    """POST and wait as long as the daemon itself does: a large archive takes minutes to read."""
    return client.call("POST", path, body, timeout=_PATIENCE_SECONDS).json()


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE")
    try:
        return name, json.loads(value)  # 5 is a number, true is true, anything else is text
    except json.JSONDecodeError:
        return name, value


def _moment(text: str) -> str:
    """Return a time as the API takes it; a day is its beginning in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-01-01T13:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


COMMANDS = (
    Command(
        name="retention",
        summary="what is kept, what goes, what is held",
        configure=_configure_retention,
        run=_retention,
    ),
    Command(
        name="archive",
        summary="list, search and restore archived rows",
        configure=_configure_archive,
        run=_archive,
    ),
)
