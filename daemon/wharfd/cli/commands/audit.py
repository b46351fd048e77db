"""`wharfd audit`: who changed what and when, and whether the record of it was tampered with."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from ...declare import Command
from ..client import Client
from ..output import Output

_PATIENCE_SECONDS = 310.0


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="list what was changed, the latest first (the default)")
    listed.add_argument("--actor", help="only by this one, such as key_…")
    listed.add_argument("--what", help="only this action, such as key.revoked")
    listed.add_argument("--subject", help="only to this one, such as wh_…")
    listed.add_argument("--owner", help="only what is this owner's")
    listed.add_argument("--since", help="such as 2027-06-30T00:00:00Z")
    listed.add_argument("--until", help="before it, such as 2027-06-30T00:00:00Z")
    listed.add_argument("--limit", type=int, default=50, help="how many, at most 200 (50)")
    parser.set_defaults(action="list", **vars(listed.parse_args([])))
    verify = actions.add_parser("verify", help="walk the chain of hashes; exit 1 where it does not hold")
    verify.add_argument(
        "--known", metavar="HEAD", help="a head that was written down elsewhere must be in it"
    )


def _audit(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "verify":
        found = _verify(client, arguments.known)
        output.facts(found)
        return 0 if found["holds"] else 1
    rows = client.get(
        "/api/v1/audit",
        actor=arguments.actor,
        action=arguments.what,
        subject=arguments.subject,
        owner=arguments.owner,
        since=arguments.since,
        until=arguments.until,
        limit=arguments.limit,
    )["items"]
    columns = ["recorded_at", "actor", "action", "subject", "owner", "ip", "detail"]
    output.table(rows, columns, empty="nothing was changed")
    return 0


def _verify(client: Client, known: str | None) -> dict[str, Any]:
    query = f"?known={quote(known, safe='')}" if known else ""
    found: dict[str, Any] = client.call(
        "GET", f"/api/v1/audit/verify{query}", timeout=_PATIENCE_SECONDS
    ).json()
    return found


COMMANDS = (
    Command(
        name="audit", summary="see who changed what; verify the record", configure=_configure, run=_audit
    ),
)
