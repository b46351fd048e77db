"""`wharfd orders …`: send batches, watch them, decide about them, fetch results."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from wharfd import Command, Output, WharfdError

from .following import sending, watch

_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
}
_UPLOAD_SECONDS = 3600.0
_COLUMNS = ["batchId", "status", "phase", "total", "succeeded", "failed", "duplicates", "createdAt", "label"]
_FACTS = (
    "batchId", "owner", "label", "status", "phase", "phaseUntil", "waitsFor", "total", "processed",
    "succeeded", "failed", "pending", "processing", "unknown", "duplicates", "skipped", "cancelled", "error",
    "executor", "amounts",
    "needsApproval", "approvedBy", "createdBy", "createdAt", "startedAt", "completedAt", "resultsExpireAt",
)  # fmt: skip
_ACTIONS = {
    "pause": "let no further order begin",
    "resume": "let a paused batch go on",
    "approve": "approve a batch of somebody else's",
}


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    submit = actions.add_parser("submit", help="send a file of orders: CSV, JSON Lines or JSON")
    submit.add_argument("file", type=Path)
    submit.add_argument("--watch", action="store_true", help="follow it until it is over")
    submit.add_argument("--check", action="store_true", help="only validate; nothing is stored")
    submit.add_argument(
        "--skip-invalid", action="store_true", help="take the good rows and report the others"
    )
    submit.add_argument(
        "--type", choices=["csv", "jsonl", "json"], help="what it is; told by its name if not given"
    )
    submit.add_argument("--key", help="Idempotency-Key; if not given, the content is the key")
    submit.add_argument("--again", action="store_true", help="send the same content as a new batch")
    submit.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option, such as executor=http"
    )
    submit.add_argument("--map", action="append", default=[], metavar="HEADER:COLUMN", help="a CSV header")
    listed = actions.add_parser("list", help="list batches, the newest first (the default)")
    listed.add_argument("--limit", type=int, default=20)
    parser.set_defaults(action="list", **vars(listed.parse_args([])))
    for name, words in (
        ("show", "show a batch"),
        ("watch", "follow a batch until it is over"),
        *_ACTIONS.items(),
    ):
        actions.add_parser(name, help=words).add_argument("batch")
    cancel = actions.add_parser("cancel", help="cancel a batch; what is under way is finished")
    cancel.add_argument("batch")
    cancel.add_argument("--reason", default="")
    retry = actions.add_parser("retry", help="try failed orders again")
    retry.add_argument("batch")
    retry.add_argument("--code", help="only those that failed with this code")
    retry.add_argument("--index", type=int, action="append", help="only this one; can be given several times")
    results = actions.add_parser("results", help="download results")
    results.add_argument("batch")
    results.add_argument(
        "--which", default="all", choices=["all", "succeeded", "failed", "unprocessed", "duplicates"]
    )
    results.add_argument("--format", default="jsonl", choices=["jsonl", "csv"])
    results.add_argument("--out", type=Path, help="a file; standard output if not given")
    resolve = actions.add_parser("resolve", help="say what became of an order whose outcome is unknown")
    resolve.add_argument("batch")
    resolve.add_argument("index", type=int)
    resolve.add_argument("outcome", choices=["succeeded", "failed", "retry"])
    resolve.add_argument("--reason", required=True, help="how you know")
    resolve.add_argument("--external-id", help="what the order system calls it")
    template = actions.add_parser("template", help="print an example file")
    template.add_argument("--format", default="csv", choices=["csv", "jsonl", "json"])


def _run(arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    action = arguments.action
    if action == "submit":
        return _submit(arguments, client, output)
    if action == "list":
        answer = client.get("/api/v1/bulk-orders", limit=arguments.limit)
        output.table(answer["items"], _COLUMNS, empty="no batches")
        return 0
    if action == "template":
        answer = client.call("GET", f"/api/bulk-orders/template?format={arguments.format}")
        output.document(answer.body.decode(), arguments.format)
        return 0
    path = f"/api/bulk-orders/{quote(arguments.batch, safe='')}"
    if action == "watch":
        return watch(client, output, arguments.batch)
    if action == "results":
        return _results(arguments, client, output, path)
    if action == "show":
        view = client.get(path)
    elif action == "cancel":
        view = client.post(f"{path}/cancel", {"reason": arguments.reason})
    elif action == "retry":
        view = client.post(f"{path}/retry", {"code": arguments.code, "indexes": arguments.index})
    elif action == "resolve":
        body = {
            "outcome": arguments.outcome,
            "reason": arguments.reason,
            "modelOrderId": arguments.external_id,
        }
        view = client.post(f"{path}/orders/{arguments.index}/resolve", body)
    else:
        view = client.post(f"{path}/{action}")
    _show(output, view)
    return 0


def _show(output: Output, view: dict[str, Any]) -> None:
    if output.as_json:
        output.facts(view)
        return
    facts = {name: view[name] for name in _FACTS if view.get(name) is not None}
    output.facts(facts | ({"amounts": _amounts(view)} if view.get("amounts") else {}))


def _amounts(view: dict[str, Any]) -> str:
    return ", ".join(f"{sum_['text']} {currency}" for currency, sum_ in view["amounts"].items())


def _submit(arguments: argparse.Namespace, client: Any, output: Output) -> int:
    kind = f".{arguments.type}" if arguments.type else arguments.file.suffix.lower()
    if kind not in _TYPES:
        raise WharfdError(f"{arguments.file.name}: what is it? add --type csv, jsonl or json")
    query = dict(_pair(text) for text in arguments.set)
    if arguments.check:
        query["validateOnly"] = "true"
    if arguments.skip_invalid:
        query["onInvalid"] = "skip_rows"
    if arguments.map:
        query["map"] = ",".join(arguments.map)
    path = "/api/bulk-orders" + (f"?{urlencode(query)}" if query else "")
    headers = {"Content-Type": _TYPES[kind]}
    try:
        with arguments.file.open("rb") as file:
            if not arguments.check and not arguments.again:
                headers["Idempotency-Key"] = arguments.key or f"cli-{_digest(file, path)}"
            headers["Content-Length"] = str(arguments.file.stat().st_size)
            try:
                with sending(file, arguments.file) as body:
                    answer = client.call("POST", path, body, headers=headers, timeout=_UPLOAD_SECONDS)
            except WharfdError as error:
                return _refused(error, output)
            except KeyboardInterrupt:
                sys.stderr.write(
                    "\nbroken off before it was answered: `wharfd orders list` shows whether it was taken; "
                    "sending the same file again makes no second batch\n"
                )
                return 130
    except OSError as error:
        raise WharfdError(f"{arguments.file} cannot be read: {error.strerror}") from error
    view = answer.json()
    if arguments.check:
        facts = {name: value for name, value in view.items() if name != "rowErrors"}
        output.facts(view if output.as_json else facts | {"amounts": _amounts(view)})
        _errors(output, view.get("rowErrors") or [])
        return 0 if view["success"] else 1
    if answer.headers.get("idempotency-replayed"):
        output.line("this file was sent before; this is its batch (--again sends it as a new one)")
    _errors(output, view.get("rowErrors") or [])
    if not arguments.watch:
        _show(output, view)
        return 0
    return watch(client, output, view["batchId"])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise WharfdError(f"--set {text}: is written name=value")
    return name, value


def _digest(file: Any, path: str) -> str:
    digest = hashlib.sha256(path.encode())
    while piece := file.read(1 << 20):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()[:40]


def _refused(error: WharfdError, output: Output) -> int:
    problem = getattr(error, "problem", {})
    rows = problem.get("rowErrors")
    if not rows:
        raise error
    if output.as_json:
        output.json(problem)
    else:
        _errors(output, rows)
        sys.stderr.write(f"wharfd: {error}\n")
    return 1


def _errors(output: Output, rows: list[dict[str, Any]]) -> None:
    if rows and not output.as_json:
        output.table(rows[:50], ["row", "column", "code", "message"])
        if len(rows) > 50:
            output.line(f"… and {len(rows) - 50} more")


def _results(arguments: argparse.Namespace, client: Any, output: Output, path: str) -> int:
    query = f"which={arguments.which}&format={arguments.format}"
    if arguments.out is None and output.as_json and arguments.format != "jsonl":
        raise WharfdError(
            f"--json prints results as JSON Lines; for {arguments.format} leave it out, or add --out FILE"
        )
    if arguments.out is None:
        for line in client.stream(f"{path}/results?{query}"):
            sys.stdout.buffer.write(line)
        sys.stdout.flush()
        return 0
    digest, size = hashlib.sha256(), 0
    part = arguments.out.with_name(arguments.out.name + ".part")
    with part.open("wb") as file:
        for line in client.stream(f"{path}/results?{query}"):
            digest.update(line)
            size += file.write(line)
    sent = client.call("GET", f"{path}/results/checksum?{query}", timeout=_UPLOAD_SECONDS).json()
    if sent["final"] and sent["sha256"] != digest.hexdigest():
        raise WharfdError(f"{part} is not what the daemon has (checksum differs); download it again")
    part.replace(arguments.out)
    output.facts(
        {"file": str(arguments.out), "bytes": size, "sha256": digest.hexdigest(), "final": sent["final"]}
    )
    return 0


COMMANDS = [
    Command(
        name="orders",
        summary="send batches of orders, watch them, fetch results",
        configure=_configure,
        run=_run,
    )
]
