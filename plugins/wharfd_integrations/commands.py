"""`wharfd keys` and `wharfd integrations`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from wharfd import Client, Command, Output, seconds_of

_KEY_COLUMNS = ("id", "public", "name", "owner", "state", "scopes", "expires_at", "last_used_at")
_INTEGRATION_COLUMNS = ("id", "name", "type", "status", "userId", "apiKey", "lastUsedAt", "usageCount")


def configure_keys(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `wharfd keys`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    create = actions.add_parser("create", help="make a key and show it once")
    create.add_argument("name", help="what the key is for")
    whose = create.add_mutually_exclusive_group(required=True)
    whose.add_argument("--owner", help="whose rows it sees")
    whose.add_argument("--everybody", action="store_true", help="it sees the rows of all owners")
    create.add_argument(
        "--scope", action="append", default=[], help="area:verb, area:* or *; repeat for more"
    )
    create.add_argument("--expires", type=seconds_of, metavar="DURATION", help="end after, such as 90d")
    create.add_argument(
        "--allow", action="append", default=[], metavar="CIDR", help="only from there; repeat"
    )
    create.add_argument("--rate", type=int, metavar="N", help="at most N requests a minute")
    create.add_argument("--integration", metavar="ID", help="works only while this integration is active")
    create.add_argument("--signed-only", action="store_true", help="requests must be signed with its secret")
    listing = actions.add_parser("list", help="list keys (the default)")
    listing.add_argument("--owner")
    listing.add_argument("--integration", metavar="ID")
    listing.add_argument("--ended", action="store_true", help="with those that no longer work")
    listing.add_argument("--limit", type=int, default=100)
    parser.set_defaults(action="list", **vars(listing.parse_args([])))
    rotate = actions.add_parser("rotate", help="make a successor; the old key goes on for the overlap")
    rotate.add_argument("id")
    rotate.add_argument(
        "--overlap", type=seconds_of, metavar="DURATION", help="such as 24h; 0s ends it at once"
    )
    revoke = actions.add_parser("revoke", help="stop a key at once, on every daemon")
    revoke.add_argument("id")
    revoke.add_argument("--reason", default="")
    revoke.add_argument("--descendants", action="store_true", help="and the keys it made")


def keys_command(arguments: argparse.Namespace, client: Client) -> int:
    """Run `wharfd keys …`."""
    output = Output(as_json=arguments.json)
    if arguments.action == "create":
        _show_new(output, client.post("/api/v1/keys", _new_key(arguments)))
    elif arguments.action == "list":
        page = client.get(
            "/api/v1/keys",
            owner=arguments.owner,
            integration_id=arguments.integration,
            ended="true" if arguments.ended else None,
            limit=arguments.limit,
        )
        output.table(page["items"], _KEY_COLUMNS, empty="no keys")
    elif arguments.action == "rotate":
        body = {} if arguments.overlap is None else {"overlap_seconds": arguments.overlap}
        _show_new(output, client.post(f"/api/v1/keys/{quote(arguments.id, safe='')}/rotate", body))
    else:
        body = {"reason": arguments.reason, "descendants": arguments.descendants}
        gone = client.post(f"/api/v1/keys/{quote(arguments.id, safe='')}/revoke", body)["revoked"]
        if output.as_json:
            output.json({"revoked": gone})
        else:
            output.line(f"revoked: {', '.join(gone) or 'nothing, it was revoked before'}")
    return 0


def configure_integrations(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `wharfd integrations`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help="list integrations (the default)")
    listing.add_argument("--type")
    listing.add_argument("--status")
    listing.add_argument("--limit", type=int, default=100)
    parser.set_defaults(action="list", **vars(listing.parse_args([])))
    show = actions.add_parser("show", help="show one, with its latest requests")
    show.add_argument("id")


def integrations_command(arguments: argparse.Namespace, client: Client) -> int:
    """Run `wharfd integrations …`."""
    output = Output(as_json=arguments.json)
    if arguments.action == "list":
        query = {"type": arguments.type, "status": arguments.status, "limit": arguments.limit}
        rows = client.get("/api/v1/integrations", **query)["items"]
        output.table(rows, _INTEGRATION_COLUMNS, empty="no integrations")
        return 0
    path = f"/api/v1/integrations/{quote(arguments.id, safe='')}"
    found, usage = client.get(path), client.get(f"{path}/usage", limit=10)["items"]
    if arguments.json:
        output.json(found | {"usage": usage})
        return 0
    output.facts(found)
    output.line()
    columns = ("timestamp", "method", "endpoint", "statusCode", "responseTime", "client")
    output.table(usage, columns, empty="no requests yet")
    return 0


def _new_key(arguments: argparse.Namespace) -> dict[str, Any]:
    ends = None
    if arguments.expires is not None:
        ends = (datetime.now(UTC) + timedelta(seconds=arguments.expires)).isoformat()
    return {
        "name": arguments.name,
        "owner": arguments.owner,
        "scopes": arguments.scope,
        "expires_at": ends,
        "allow_list": arguments.allow,
        "rate_per_minute": arguments.rate,
        "integration_id": arguments.integration,
        "signed_only": arguments.signed_only,
    }


def _show_new(output: Output, made: dict[str, Any]) -> None:
    if output.as_json:
        output.json(made)
        return
    shown = {"id": made["details"]["id"], "key": made["key"]}
    if made["secret"] is not None:
        shown["secret"] = made["secret"]
    output.facts(shown)
    output.line("keep it now: it is not shown again")


COMMANDS = (
    Command(
        name="keys", summary="make, list, rotate and revoke API keys", configure=configure_keys,
        run=keys_command,
    ),
    Command(
        name="integrations", summary="look at integrations", configure=configure_integrations,
        run=integrations_command,
    ),
)  # fmt: skip
