"""`wharfd backup`: with the daemon, and, for a restore, without it and its database."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from wharfd import Client, Command, Output, WharfdError, make_identity

from . import unaided
from .config import Settings

_POLL_SECONDS = 0.2


def commands(settings: Settings) -> list[Command]:
    """Return `wharfd backup`."""
    return [
        Command(
            name="backup",
            summary="take, list, verify and restore backups",
            configure=_configure,
            run=lambda arguments, client: _run(settings, arguments, client),
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the backups (the default)")
    parser.set_defaults(action="list")
    runs = actions.add_parser("history", aliases=["runs"], help="list what was done, and how it went")
    runs.add_argument("--kind", choices=["backup", "verify", "drill", "mount"])
    run = actions.add_parser("run", help="take a backup now")
    run.add_argument("--note", default="", help="why")
    verify = actions.add_parser("verify", help="read a backup back from every place and compare every byte")
    verify.add_argument("id")
    drill = actions.add_parser("drill", help="restore a backup for real, check it, remove it")
    drill.add_argument("--backup", help="which; any without")
    for name, words in (
        ("mount", "start a read-only server on a backup"),
        ("restore", "restore into a folder"),
    ):
        one = actions.add_parser(name, help=words)
        one.add_argument("--backup", help="which; the newest that leads to the target without")
        where = one.add_mutually_exclusive_group()
        where.add_argument("--to-time", help="such as 2026-11-20T23:44:07Z")
        where.add_argument("--to-lsn", help="such as 0/3000060")
        if name == "restore":
            where.add_argument("--before-gap", action="store_true", help="up to the first gap in the log")
            unaided.configure(one)
    unmount = actions.add_parser("unmount", help="end a mount")
    unmount.add_argument("id")
    made = actions.add_parser("new-key", help="make an age key; its file belongs into escrow")
    made.add_argument("--out", type=Path, required=True, help="a new file")


def _run(settings: Settings, arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "restore":
        return trio.run(unaided.carry_out, settings, arguments, output)
    act: dict[str, Callable[[], int]] = {
        "list": lambda: _list(client, output),
        "history": lambda: _runs(client, output, arguments.kind),
        "runs": lambda: _runs(client, output, arguments.kind),
        "new-key": lambda: _new_key(output, arguments.out),
        "run": lambda: _follow(client, output, client.post("/api/v1/backups", {"note": arguments.note})),
        "verify": lambda: _follow(
            client, output, client.post(f"/api/v1/backups/entries/{quote(arguments.id, safe='')}/verify")
        ),
        "drill": lambda: _follow(
            client, output, client.post("/api/v1/backups/drills", {"backup": arguments.backup})
        ),
        "mount": lambda: _mount(client, output, arguments),
        "unmount": lambda: _unmount(client, output, arguments.id),
    }
    return act[arguments.action]()


def _list(client: Client, output: Output) -> int:
    answer = client.get("/api/v1/backups")
    columns = ["id", "method", "reason", "finished_at", "seconds", "bytes", "encrypted", "second", "end_lsn"]
    output.table(answer["backups"], columns, empty="there is no backup")
    for words in answer["damaged"]:
        sys.stderr.write(f"wharfd: damaged: {words}\n")
    return 1 if answer["damaged"] else 0


def _runs(client: Client, output: Output, kind: str | None) -> int:
    rows = client.get("/api/v1/backups/runs", kind=kind)["runs"]
    output.table(rows, ["id", "kind", "reason", "state", "step", "asked_at", "finished_at", "error"])
    return 0


def _mount(client: Client, output: Output, arguments: argparse.Namespace) -> int:
    body = {"backup": arguments.backup, "to_time": arguments.to_time, "to_lsn": arguments.to_lsn}
    return _follow(client, output, client.post("/api/v1/backups/mounts", body), until="mounted")


def _unmount(client: Client, output: Output, run_id: str) -> int:
    client.call("DELETE", f"/api/v1/backups/mounts/{quote(run_id, safe='')}")
    output.facts({"id": run_id, "state": "ended"})
    return 0


def _new_key(output: Output, path: Path) -> int:
    secret, public = make_identity()
    text = f"# opens the backups made for {public}; without it they are worth nothing\n{secret}\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise WharfdError(f"{path} is there already; a key is never written over another") from None
    except OSError as error:
        raise WharfdError(f"{path} cannot be written: {error.strerror}") from None
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    output.facts({"identity": str(path), "recipient": public})
    return 0


def _follow(client: Client, output: Output, answer: Any, *, until: str = "") -> int:
    """Show how a run goes until it is over."""
    told = ""
    while True:
        run = client.get(f"/api/v1/backups/runs/{answer['run']}")
        if (news := f"{run['state']} {run['step']} {run['bytes'] / 1e6:.0f} MB") != told:
            output.line(f"{run['id']}  {news}")
            told = news
        if run["state"] in ("done", "failed") or (until and run["step"] == until):
            break
        threading.Event().wait(_POLL_SECONDS)
    if run["error"]:
        sys.stderr.write(f"wharfd: {run['error']}\n")
    checks = [] if output.as_json else run["result"].pop("checks", [])
    output.facts(run if output.as_json else run["result"])
    if checks:
        output.table(checks, ["name", "outcome", "said"])
    return 0 if run["state"] != "failed" else 1
