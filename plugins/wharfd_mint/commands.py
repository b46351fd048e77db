"""`wharfd mint`: list, show, retry, hold, adopt, disown, doctor, tiers, payments, export, import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wharfd import Command, Output, WharfdError

from .model.money import in_words

_STATES = ("ready", "running", "done", "buried", "held", "cancelled")


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="list mints, the newest first (the default)")
    listed.add_argument("--state", choices=_STATES, help="only mints in this state")
    listed.add_argument("--limit", type=int, default=50, help="how many at most")
    parser.set_defaults(action="list", **vars(listed.parse_args([])))
    for action, words in (
        ("show", "a mint and every transaction signed for it"),
        ("retry", "try a mint again now"),
        ("hold", "leave a mint alone until it is retried"),
    ):
        one = actions.add_parser(action, help=words)
        one.add_argument("license", help="license id")
        if action == "hold":
            one.add_argument("--reason", default="held by hand", help="why")
    for action, words in (
        ("adopt", "say that a transaction made a license's token, where the contract cannot be asked"),
        ("disown", "say that a transaction made no license's token, and try the mint again"),
    ):
        said = actions.add_parser(action, help=words)
        said.add_argument("license", help="license id")
        said.add_argument("transaction", help="its hash")
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
    output = Output(as_json=arguments.json)
    action = arguments.action
    if action == "list":
        rows = client.get("/api/v1/mints", state=arguments.state, limit=arguments.limit)["items"]
        output.table(rows, ["licenseId", "state", "stage", "tier", "txHash", "trouble"], empty="no mints")
    elif action == "show":
        _show(client.get(f"/api/v1/mints/{quote(arguments.license, safe='')}"), output)
    elif action in ("retry", "hold"):
        body = {"reason": arguments.reason} if action == "hold" else None
        client.post(f"/api/v1/mints/{quote(arguments.license, safe='')}/{action}", body)
        state = "ready" if action == "retry" else "held"
        output.facts({"licenseId": arguments.license, "state": state})
    elif action in ("adopt", "disown"):
        said = {"txHash": arguments.transaction}
        client.post(f"/api/v1/mints/{quote(arguments.license, safe='')}/{action}", said)
        output.facts({"licenseId": arguments.license, "state": "ready"})
    elif action == "doctor":
        checks = client.get("/api/v1/mint/doctor")["checks"]
        output.table(checks, ["check", "state", "detail"])
        return 1 if any(one["state"] == "fail" for one in checks) else 0
    elif action == "tiers":
        rows = _readable(client.get("/api/v1/mint/tiers")["items"], "price", output)
        output.table(rows, ["tier", "cap", "taken", "left", "price"], empty="no tiers")
    elif action == "payments":
        rows = _readable(client.get("/api/v1/mint/payments")["items"], "amount", output)
        columns = ["eventId", "kind", "licenseId", "amount", "outcome", "at"]
        output.table(rows, columns, empty="no payment waits for a person")
    elif action == "settle":
        client.post(f"/api/v1/mint/payments/{quote(arguments.payment, safe='')}/settle")
        output.facts({"payment": arguments.payment, "outcome": "settled"})
    elif action == "export":
        _export(arguments.file, client, output)
    else:
        return _import(arguments, client, output)
    return 0


def _readable(rows: list[dict[str, Any]], money: str, output: Output) -> list[dict[str, Any]]:
    """Write money for people; JSON keeps its minor units."""
    if output.as_json:
        return rows
    return [
        row if row[money] is None else {**row, money: in_words(row[money], row["currency"])} for row in rows
    ]


def _show(mint: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(mint)
        return
    output.facts({name: value for name, value in mint.items() if name not in ("transactions", "history")})
    output.line()
    columns = ["nonce", "kind", "hash", "sent", "block", "minedOk", "nonceOutcome", "failure"]
    output.table(mint["transactions"], columns, empty="nothing was signed")


def _export(path: Path | None, client: Any, output: Output) -> None:
    answer = client.call("GET", "/api/v1/mint/buyers.csv", headers={"Accept": "text/csv"})
    if path is None:
        output.document(answer.body.decode(), "csv")
        return
    try:
        path.write_bytes(answer.body)
    except OSError as error:
        raise WharfdError(f"{path} cannot be written: {error.strerror}") from None
    output.facts({"file": str(path), "bytes": len(answer.body)})


def _import(arguments: argparse.Namespace, client: Any, output: Output) -> int:
    path = "/api/v1/mint/buyers.csv" + ("?dry_run=true" if arguments.dry_run else "")
    try:
        given = arguments.file.read_bytes()
    except OSError as error:
        raise WharfdError(f"{arguments.file} cannot be read: {error.strerror}") from None
    done = client.post(path, given, headers={"Content-Type": "text/csv"})
    if output.as_json:
        output.json(done)
    else:
        output.line(f"{done['added']} added, {done['skipped']} there already, {done['failed']} wrong")
        if done["errors"]:
            output.table(done["errors"], ["line", "message"])
    return 1 if done["failed"] else 0


COMMAND = Command(name="mint", summary="look after buyers' tokens", configure=_configure, run=_run)
