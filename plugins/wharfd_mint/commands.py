"""`wharfd mint`: list, show, retry, hold, doctor, tiers, payments, export, import."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wharfd import Command


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="list mints, the newest first")
    listed.add_argument("--state", help="ready, running, done, buried, held or cancelled")
    listed.add_argument("--limit", type=int, default=50, help="how many at most")
    for action, words in (
        ("show", "a mint and every transaction signed for it"),
        ("retry", "try a mint again now"),
        ("hold", "leave a mint alone until it is retried"),
    ):
        one = actions.add_parser(action, help=words)
        one.add_argument("license", help="license id")
        if action == "hold":
            one.add_argument("--reason", default="held by hand", help="why")
    actions.add_parser("doctor", help="look at what minting depends on")
    actions.add_parser("tiers", help="what is sold and how much is left")
    actions.add_parser("payments", help="payments for a person to look at")
    settle = actions.add_parser("settle", help="note that a payment was dealt with")
    settle.add_argument("payment", help="its event id")
    export = actions.add_parser("export", help="write all buyers as CSV")
    export.add_argument("file", nargs="?", type=Path, help="where to; standard output without it")
    taken = actions.add_parser("import", help="add buyers from CSV")
    taken.add_argument("file", type=Path, help="the file")
    taken.add_argument("--dry-run", action="store_true", help="only say what would happen")


def _run(arguments: argparse.Namespace, client: Any) -> int:
    action = arguments.action
    as_json = bool(getattr(arguments, "json", False))
    if action == "list":
        rows = client.get("/api/v1/mints", state=arguments.state, limit=arguments.limit)["items"]
        _table(rows, ["licenseId", "state", "stage", "tier", "txHash", "trouble"], as_json)
    elif action == "show":
        return _show(client.get(f"/api/v1/mints/{arguments.license}"), as_json)
    elif action in ("retry", "hold"):
        body = {"reason": arguments.reason} if action == "hold" else None
        client.post(f"/api/v1/mints/{arguments.license}/{action}", body)
        _say(f"{arguments.license}: {'will be tried now' if action == 'retry' else 'held'}")
    elif action == "doctor":
        checks = client.get("/api/v1/mint/doctor")["checks"]
        _table(checks, ["check", "state", "detail"], as_json)
        return 1 if any(one["state"] == "fail" for one in checks) else 0
    elif action == "tiers":
        rows = client.get("/api/v1/mint/tiers")["items"]
        _table(rows, ["tier", "cap", "taken", "left", "price", "currency"], as_json)
    elif action == "payments":
        rows = client.get("/api/v1/mint/payments")["items"]
        _table(rows, ["eventId", "licenseId", "amount", "currency", "outcome", "at"], as_json)
    elif action == "settle":
        client.post(f"/api/v1/mint/payments/{arguments.payment}/settle")
        _say("settled")
    elif action == "export":
        return _export(arguments.file, client)
    else:
        return _import(arguments, client, as_json)
    return 0


def _show(mint: dict[str, Any], as_json: bool) -> int:
    if as_json:
        return _json(mint)
    facts = {name: value for name, value in mint.items() if name not in ("transactions", "history")}
    _table([{"what": name, "is": value} for name, value in facts.items()], ["what", "is"], False)
    columns = ["nonce", "kind", "hash", "sent", "block", "minedOk", "nonceOutcome", "failure"]
    _table(mint["transactions"], columns, False)
    return 0


def _export(path: Path | None, client: Any) -> int:
    answer = client.call("GET", "/api/v1/mint/buyers.csv", headers={"Accept": "text/csv"})
    if path is None:
        sys.stdout.buffer.write(answer.body)
    else:
        path.write_bytes(answer.body)
    return 0


def _import(arguments: argparse.Namespace, client: Any, as_json: bool) -> int:
    path = "/api/v1/mint/buyers.csv" + ("?dry_run=true" if arguments.dry_run else "")
    done = client.post(path, arguments.file.read_bytes(), headers={"Content-Type": "text/csv"})
    if as_json:
        _json(done)
    else:
        _say(f"{done['added']} added, {done['skipped']} there already, {done['failed']} wrong")
        _table(done["errors"], ["line", "message"], False)
    return 1 if done["failed"] else 0


def _json(value: Any) -> int:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _table(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    if as_json:
        _json(rows)
        return
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if row.get(column) is None else str(row.get(column)) for column in columns))
    Console(highlight=False).print(table)


COMMAND = Command(name="mint", summary="look after buyers' tokens", configure=_configure, run=_run)
