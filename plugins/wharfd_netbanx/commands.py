"""`wharfd send`, `wharfd events`, `wharfd sources`."""

from __future__ import annotations

import argparse
import getpass
import sys
import threading
from collections.abc import Set
from typing import Any
from urllib.parse import quote, urlsplit

from wharfd import Command, Output, WharfdError

from .config import Settings
from .samples import SAMPLE_NAMES
from .schemes import PRESETS, make_key
from .sending import Plan, send

_POLL_SECONDS = 1.0
_REMEMBERED = 20_000


def commands(settings: Settings) -> list[Command]:
    """Return the commands; `send` signs with the configured keys."""
    return [
        Command(
            name="send",
            summary="send signed sample webhooks to the running daemon",
            configure=_configure_send,
            run=lambda arguments, client: _send(settings, arguments, client),
        ),
        Command(
            name="events",
            summary="look at stored webhook events; work them once more",
            configure=_configure_events,
            run=_events,
        ),
        Command(
            name="sources",
            summary="list webhook sources; find out why a signature does not fit",
            configure=_configure_sources,
            run=_sources,
        ),
    ]


def _configure_send(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sample", nargs="*", help=f"which samples: {', '.join(SAMPLE_NAMES)}; all if none")
    parser.add_argument("--source", help="the source to send to; the first one if not given")
    parser.add_argument("--key", help="the key to sign with, as typed; the source's own if not given")
    parser.add_argument("--count", type=int, help="how many; one of each sample if not given")
    parser.add_argument(
        "--rate", type=float, help="how many per second; as fast as answers come if not given"
    )
    parser.add_argument("--connections", type=int, default=8, help="connections to send over (8)")
    parser.add_argument(
        "--first", type=int, help="number of the first sample; equal numbers are equal events"
    )
    parser.add_argument(
        "--to", metavar="URL", help="where to post; the ingest listener of the daemon if not given"
    )


def _send(settings: Settings, arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    if not settings.sources:
        raise WharfdError("no source is configured; see: wharfd config")
    name = arguments.source or next(iter(settings.sources))
    source = settings.sources.get(name)
    if source is None:
        raise WharfdError(f"there is no source {name!r}; known: {', '.join(settings.sources)}")
    if unknown := [sample for sample in arguments.sample if sample not in SAMPLE_NAMES]:
        raise WharfdError(f"there is no sample {unknown[0]!r}; known: {', '.join(SAMPLE_NAMES)}")
    try:
        keys = (
            [make_key(source.scheme, arguments.key, source.key_encoding)]
            if arguments.key
            else source.typed_keys()
        )
    except ValueError as error:
        raise WharfdError(f"key: {error}") from None
    if not keys:
        raise WharfdError(f"source {name} has no key in the file; give one with --key")
    names = tuple(arguments.sample) or SAMPLE_NAMES
    plan = Plan(
        url=arguments.to or find_ingest(client),
        paths=source.paths,
        names=names,
        count=len(names) if arguments.count is None else arguments.count,
        rate=arguments.rate,
        connections=arguments.connections,
        first=arguments.first,
    )
    result = send(plan, source.verifier(keys), show=not arguments.json)
    output.facts({"to": plan.url, **result.facts()})
    return 0 if result.refused == result.failed == 0 else 1


def find_ingest(client: Any) -> str:
    """Return where the running daemon takes webhooks: its ingest listener, else its API, which does too.

    Raises `WharfdError` when the daemon does not say: a sample for one listener must not end at another.
    """
    try:
        listeners = str(client.get("/api/v1/status")["ingest"]).split(", ")
    except WharfdError as error:
        if getattr(error, "status", None) is None:
            raise  # nobody answers there
        raise WharfdError(
            f"the daemon at {client.url} does not say where it takes webhooks ({error}); "
            "or name the place with --to URL"
        ) from None
    for listener in listeners:
        parts = urlsplit(listener)
        if parts.scheme not in ("http", "https") or not parts.port:
            continue  # a Unix socket
        if parts.hostname in ("0.0.0.0", "::"):
            host = urlsplit(str(client.url)).hostname or "127.0.0.1"
            return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"
        return listener
    return str(client.url)


def _configure_events(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for action, words in (
        ("list", "list events, the newest first (the default)"),
        ("tail", "show them as they come"),
    ):
        one = actions.add_parser(action, help=words)
        for option in ("source", "name", "state", "resource-id", "merchant-ref-num"):
            one.add_argument(f"--{option}")
        one.add_argument("--limit", type=int, default=20)
        if action == "list":
            parser.set_defaults(action="list", **vars(one.parse_args([])))
    one = actions.add_parser("show", help="show one with body, headers and what it led to")
    one.add_argument("event", help="evt_…")
    one = actions.add_parser("resolve", help="say that an event that came with two contents was looked into")
    one.add_argument("event", help="evt_…")
    one = actions.add_parser("replay", help="work events once more; says what it would do without --yes")
    one.add_argument("event", nargs="*", help="evt_…")
    for option in ("source", "name", "state", "start-date", "end-date"):
        one.add_argument(f"--{option}")
    one.add_argument("--yes", action="store_true", help="really do it")


_COLUMNS = ["id", "receivedAt", "source", "name", "state", "attempts", "lastError"]


def _events(arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    path = "/api/v1/webhook-events"
    action = arguments.action
    if action == "show":
        output.facts(client.get(f"{path}/{quote(arguments.event, safe='')}"))
    elif action == "resolve":
        output.facts(client.post(f"{path}/{quote(arguments.event, safe='')}/resolve"))
    elif action == "replay":
        body = {
            "ids": arguments.event or None,
            "source": arguments.source,
            "name": arguments.name,
            "state": arguments.state,
            "startDate": arguments.start_date,
            "endDate": arguments.end_date,
            "dryRun": not arguments.yes,
        }
        found = client.post(f"{path}/replay", {k: v for k, v in body.items() if v is not None})
        if output.as_json:
            output.json(found)
            return 0
        output.table(found["events"], _COLUMNS, empty="no event fits")
        output.line(
            f"{found['replayed']} are worked once more"
            if arguments.yes
            else f"{found['found']} would be worked once more; do it with --yes"
        )
    else:
        query = _query(arguments)
        items = client.get(path, **query)["items"]
        if action == "list":
            output.table(items, _COLUMNS, empty="no event fits")
        else:
            _tail(output, client, path, query, items)
    return 0


def _query(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "source": arguments.source,
        "name": arguments.name,
        "state": arguments.state,
        "resourceId": arguments.resource_id,
        "merchantRefNum": arguments.merchant_ref_num,
        "limit": arguments.limit,
    }


def _tail(output: Output, client: Any, path: str, query: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Show the newest events, then each that comes; ids are sortable, so older ones are told by theirs."""
    pause = threading.Event()
    shown = {event["id"] for event in items}
    oldest = min(shown, default="")
    while True:
        for event in reversed(items):
            if output.as_json:
                output.record(event)
            else:
                output.line("  ".join(str(event[column] or "-") for column in _COLUMNS))
        pause.wait(_POLL_SECONDS)
        items = _arrived(client, path, query | {"limit": 200}, shown, oldest)
        shown.update(event["id"] for event in items)
        if len(shown) > _REMEMBERED:
            shown = set(sorted(shown)[-_REMEMBERED // 2 :])
            oldest = min(shown)


def _arrived(
    client: Any, path: str, query: dict[str, Any], shown: Set[str], oldest: str
) -> list[dict[str, Any]]:
    """Return what is not shown yet, the newest first, from as many pages as it takes."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.get(path, **query, cursor=cursor)
        fresh = [event for event in page["items"] if event["id"] > oldest and event["id"] not in shown]
        found += fresh
        cursor = page["next_cursor"]
        if cursor is None or len(fresh) < len(page["items"]):
            return found


def _configure_sources(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the sources (the default)")
    actions.add_parser("schemes", help="list the signature schemes there are")
    one = actions.add_parser("explain", help="say which settings fit a stored delivery")
    one.add_argument("event", help="evt_…")
    one = actions.add_parser("keys", help="list the stored keys; never the keys themselves")
    one.add_argument("--source")
    one = actions.add_parser("add-key", help="store a key, read from standard input, sealed")
    one.add_argument("source", help="a source that has stored_keys")
    one.add_argument("--name", default="default", help="what to call it (default)")
    one.add_argument("--key-encoding", help="base64, utf8 or hex; the source's own if not given")
    one.add_argument(
        "--from", dest="valid_from", metavar="TIME", help="counts from then on (UTC); at once if not given"
    )
    one.add_argument(
        "--until", dest="valid_until", metavar="TIME", help="counts until then (UTC); no end if not given"
    )
    one = actions.add_parser("rotate-key", help="store the next version of a key, read from standard input")
    one.add_argument("key", help="whs_…")
    one.add_argument("--overlap", type=int, default=86400, help="seconds the old one still counts (a day)")
    one = actions.add_parser("drop-key", help="throw a stored key away")
    one.add_argument("key", help="whs_…")


def _sources(arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "schemes":
        rows = [{"scheme": name, "what": preset.summary} for name, preset in PRESETS.items()]
        output.table(rows, ["scheme", "what"])
        return 0
    if arguments.action == "explain":
        found = client.get(f"/api/v1/webhook-events/{quote(arguments.event, safe='')}/explain")
        if output.as_json:
            output.json(found["findings"])
            return 0
        rows = [{**one, "fits": "yes" if one["fits"] else "no"} for one in found["findings"]]
        output.table(rows, ["fits", "sentence", "settings"])
        return 0
    if arguments.action in _KEY_ACTIONS:
        _KEY_ACTIONS[arguments.action](arguments, client, output)
        return 0
    rows = client.get("/api/v1/webhook-sources")["sources"]
    output.table(rows, ["name", "scheme", "paths", "keys", "storedKeys", "lastEventAt"], empty="no source")
    return 0


def _list_keys(arguments: argparse.Namespace, client: Any, output: Output) -> None:
    query = {"source": arguments.source} if arguments.source else {}
    rows = client.get(_KEYS, **query)["data"]["secrets"]
    columns = ["id", "endpoint", "name", "keyVersion", "isActive", "validFrom", "validUntil", "usageCount"]
    columns.append("lastUsedAt")
    output.table(rows, columns, empty="no key is stored")


def _add_key(arguments: argparse.Namespace, client: Any, output: Output) -> None:
    body = {"source": arguments.source, "name": arguments.name, "key": _typed_key()}
    more = {
        "keyEncoding": arguments.key_encoding,
        "validFrom": arguments.valid_from,
        "validUntil": arguments.valid_until,
    }
    made = client.post(_KEYS, body | {name: value for name, value in more.items() if value})["data"]
    _tell(output, made, f"{made['id']} is used from {made['validFrom'] or 'now'} on")


def _rotate_key(arguments: argparse.Namespace, client: Any, output: Output) -> None:
    body = {"key": _typed_key(), "overlapSeconds": arguments.overlap}
    made = client.post(f"{_KEYS}/{quote(arguments.key, safe='')}/rotate", body)["data"]
    old = f"{arguments.key} counts {arguments.overlap} seconds more"
    _tell(output, made, f"{made['id']} is used from now on; {old}")


def _drop_key(arguments: argparse.Namespace, client: Any, output: Output) -> None:
    client.call("DELETE", f"{_KEYS}/{quote(arguments.key, safe='')}")
    _tell(output, {"id": arguments.key, "dropped": True}, f"{arguments.key} is gone")


def _tell(output: Output, what: dict[str, Any], sentence: str) -> None:
    if output.as_json:
        output.json(what)
    output.line(sentence)


def _typed_key() -> str:
    """Read a key from where neither the list of processes nor the shell's history shows it."""
    if sys.stdin.isatty():
        return getpass.getpass("key: ")
    if not (key := sys.stdin.readline().strip()):
        raise WharfdError("no key on standard input; write: wharfd sources add-key SOURCE < FILE")
    return key


_KEYS = "/api/v1/webhook-secrets"
_KEY_ACTIONS = {"keys": _list_keys, "add-key": _add_key, "rotate-key": _rotate_key, "drop-key": _drop_key}
