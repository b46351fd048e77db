"""Every command of the CLI with `--json`: what it prints is JSON, and a refusal is one sentence on stderr."""

import argparse
import base64
import importlib
import io
import json
import re
import shutil
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
import trio

from wharfd import cli, log
from wharfd.cli import build_parser, main

KEY = base64.b64encode(b"a key that only this test knows!").decode()
ROOT = Path(__file__).parents[2]
LICENSE, WALLET = "NODE-AAAAA", "0x1111111111111111111111111111111111111111"
CONFIG = """[plugins.alerts]
[plugins.backfill]
[plugins.backups]
[plugins.console]
[plugins.feedback]
[plugins.integrations]
[plugins.metrics]
[plugins.netbanx.sources.netbanx]
stored_keys = true
keys = ["KEY"]
[plugins.orders]
[plugins.retention]
[plugins.webhooks]
https_only = false
allow_networks = ["127.0.0.0/8"]
[plugins.mint]
minter = "http"
tiers.gold = { cap = 300, price = 10000 }
http = { url = "http://127.0.0.1:9/", allow_networks = ["127.0.0.0/8"] }
""".replace("KEY", KEY)
ORDER = {
    "clientRef": "A-1", "account": "ACC-1", "currency": "EUR",
    "cartItems": [{"id": "1", "productId": "F12", "transactionType": "purchase", "amount": "12.50"}],
}  # fmt: skip
# What goes on, or hands rows through, prints JSON Lines.
LINES = {"orders results"}
# One prints the daemon's log, the other goes on until it is stopped.
ELSEWHERE = {"run", "events tail"}
# The words, the exit code, and what is learnt from the answer for the words that follow.
CALLS = [
    ("", 0), ("config", 0), ("plugin", 0), ("secrets", 0), ("retention", 0),
    ("check", 0), ("config example", 0), ("status", 0), ("top", 0), ("doctor", 1), ("bench validate", 1), ("completion bash", 0),
    ("plugins", 0), ("plugins list", 0), ("plugins resume nobody", 1), ("plugin new loyalty --into {place}", 0),
    ("migrate", 0), ("migrate --plan", 0), ("docs --check --root {root}", 0),
    ("init --state-dir {place}/fresh", 0), ("import --from {place}", 0),
    ("schedules", 0), ("schedules list", 0, "schedule=0.name"), ("schedules run {schedule}", 0),
    ("audit", 0), ("audit list --limit 1", 0), ("audit verify", 0),
    ("audit verify --known 9:00", 1), ("secrets new-key", 0), ("secrets rotate --dry-run", 0),
    ("work", 0), ("work list", 0), ("work pause mint.intents", 0), ("work buried mint.intents", 0),
    ("work requeue mint.intents --all", 0),
    ("send payment-completed --count 1", 0), ("events", 0), ("events list", 0, "event=0.id"),
    ("events show {event}", 0), ("events resolve {event}", 0), ("events replay {event}", 0),
    ("sources", 0), ("sources list", 0), ("sources schemes", 0), ("sources explain {event}", 0),
    ("sources add-key netbanx", 0, "secret=id"), ("sources keys", 0), ("sources rotate-key {secret}", 0),
    ("sources drop-key {secret}", 0),
    ("alerts", 0), ("alerts list", 0), ("alerts history", 0), ("alerts rules", 0), ("alerts ack none", 1),
    ("alerts resolve none", 1), ("alerts silence orders.* --for 2h --reason test", 0, "silence=id"),
    ("alerts silences", 0), ("alerts unsilence {silence}", 0),
    ("backfill", 0), ("backfill list", 0), ("backfill start blocks 1 9", 0, "job=id"), ("backfill show {job}", 0),
    ("backfill pause {job}", 0), ("backfill resume {job}", 0), ("backfill fail {job} --reason tested", 0),
    ("deliveries", 0), ("deliveries list", 0, "delivery=0.id"), ("deliveries show {delivery}", 0),
    ("deliveries explain {delivery}", 0), ("deliveries cancel {delivery}", 1), ("deliveries retry {delivery}", 0),
    ("deliveries resend {delivery}", 0), ("deliveries lineage {delivery}", 0),
    ("deliveries recover {webhook} --since {today}", 0),
    ("integrations", 0), ("integrations list", 0, "integration=0.id"), ("integrations show {integration}", 0),
    ("keys", 0), ("keys list", 0), ("keys create test --owner acme --scope orders:read", 0, "key=details.id"),
    ("keys rotate {key}", 0), ("keys revoke {key}", 0),
    ("mint", 0), ("mint list", 0), ("mint tiers", 0), ("mint import {place}/buyers", 0), ("mint doctor", 1),
    ("mint show {license}", 0), ("mint hold {license}", 0), ("mint retry {license}", 0),
    ("mint adopt {license} 0xab", 1), ("mint disown {license} 0xab", 1), ("mint payments", 0),
    ("work resume mint.intents", 0), ("mint settle none", 1), ("mint export", 0), ("mint export {place}/out", 0),
    ("orders", 0), ("orders list", 0), ("orders template", 0), ("orders resolve none 0 failed --reason seen", 1),
    ("orders submit {place}/orders --type jsonl", 0, "batch=batchId"), ("orders watch {batch}", 0),
    ("orders show {batch}", 0), ("orders results {batch}", 0), ("orders pause {batch}", 1),
    ("orders resume {batch}", 1), ("orders approve {batch}", 1), ("orders cancel {batch}", 1),
    ("orders retry {batch}", 1),
    ("retention policies", 0), ("retention plan", 0), ("retention run", 0), ("retention runs", 0),
    ("retention holds", 0), ("retention hold backfill.jobs --reason court", 0, "hold=id"),
    ("retention release {hold}", 0), ("archive", 0), ("archive list", 0), ("archive restore none", 1),
    ("archive verify none", 1), ("archive rehydrated", 0), ("archive drop none", 1), ("retention put-back none --reason court", 1),
    ("archive query backfill.jobs --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z", 0),
    ("backup", 0), ("backup list", 0), ("backup history", 0), ("backup runs", 0), ("backup run", 0),
    ("backup verify none", 1), ("backup drill --backup none", 1), ("backup mount --backup none", 1),
    ("backup unmount none", 1), ("backup restore --backup none --into {place}/back", 1),
    ("backup new-key --out {place}/key", 0),
]  # fmt: skip

# What these commands changed, as the audit log has to tell it.
CHANGES = """
alert.silenced alert.unsilenced backfill.failed backfill.paused backfill.running backfill.started
backups.backup_asked batch.created buyer.created database.migrated delivery.resent delivery.retried
integration.created key.created key.revoked key.rotated mint.held mint.retried retention.held
retention.released retention.run_asked schedule.run_now webhook.created webhook.tested work.paused work.resumed
"""


def leaves(parser, at=()):
    """Every command and action that can be typed; a group that needs no action stands for its list."""
    below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not any(one.required for one in below):
        yield " ".join(at)
    for action in below:
        for name, inner in action.choices.items():
            yield from leaves(inner, (*at, name))


def learnt(value, path):
    for step in path.split("."):
        value = value[int(step)] if step.isdigit() else value[step]
    return value


class Cli:
    """`await cli("events list")` types that behind `wharfd --json` and returns code, stdout and stderr."""

    def __init__(self, d, file, parser):
        self.d, self.parser = d, parser
        self.everywhere = ["--json", "--url", d.api, "--config", str(file)]
        self.everywhere += ["--state-dir", str(d.running.machinery.state.path)]

    async def __call__(self, words):
        return await trio.to_thread.run_sync(self._type, words.split())

    def _type(self, words):
        with pytest.MonkeyPatch.context() as patch:
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), write_through=True))
            patch.setattr(sys, "stdin", io.StringIO("YSBrZXkgZnJvbSBzdGFuZGFyZCBpbnB1dA==\n"))
            written = [sys.stdout.buffer, sys.stderr.buffer]
            try:
                code = main([*self.everywhere, *words])
            except SystemExit as stop:
                code = stop.code
            return code, *(stream.getvalue().decode() for stream in written)


@pytest.fixture
def wharfd(daemon, monkeypatch, tmp_path):
    """A factory of daemons with all plugins and a `Cli`; no log goes to stdout, the parser is made once."""
    for module in ("backups.commands._POLL", "orders.following._POLL", "retention.commands._LOOK"):
        name, _, constant = f"wharfd_{module}_SECONDS".rpartition(".")
        monkeypatch.setattr(importlib.import_module(name), constant, 0.02)
    monkeypatch.setattr(log, "configure", lambda *_, **__: None)
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

    @asynccontextmanager
    async def start():
        async with daemon(config=CONFIG) as d:
            urls = f'[database]\nurl = "{d.settings.url}"\nowner_url = "{d.settings.owner_url}"\n'
            file = tmp_path / "wharfd.toml"
            file.write_text(urls + CONFIG)
            parser = build_parser(argparse.Namespace(config=file), [])
            monkeypatch.setattr(cli, "build_parser", lambda common, rest: parser)
            yield Cli(d, file, parser)

    yield start
    structlog.configure(**before)


async def furnish(d, place, url):
    """Make what commands are asked about, and the files they read; return the names of it."""
    (place / "fresh").mkdir(mode=0o700)
    shutil.copy(d.running.machinery.state.master_key, place / "fresh")
    (place / "buyers").write_text(f"license_id,wallet,tier,status\n{LICENSE},{WALLET},gold,active\n")
    (place / "orders").write_text(json.dumps(ORDER))
    (place / "backfill_jobs.jsonl").write_text("")
    hook = {"url": url, "events": ["order.failed"]}
    webhook = (await d.post("/api/v1/webhooks", hook)).json()["id"]
    await d.post(f"/api/v1/webhooks/{webhook}/test")
    made = await d.post("/api/v1/integrations", {"name": "Gateway", "type": "custom"})
    assert made.status == 201, made.body
    today = f"{datetime.now(UTC):%Y-%m-%d}T00:00:00Z"
    return {"place": place, "root": ROOT, "license": LICENSE, "webhook": webhook, "today": today}


def trouble(words, expected, code, out, err):
    """What is wrong with an answer; nothing when it is as documented."""
    if code != expected:
        return f"it ended with {code} instead of {expected}"
    if out or not code:
        try:
            for text in out.splitlines() if words in LINES else [out]:
                json.loads(text)
        except ValueError as error:
            return f"stdout is no JSON: {error}"
    if code and not out and not re.fullmatch(r"wharfd: [^\n]*[^.\n]\n", err):
        return "stderr is not one sentence"
    return None


async def test_every_command_speaks_json(wharfd, receiver, monkeypatch, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    async with wharfd() as typing:
        known, failed, typed = await furnish(typing.d, place, receiver.url), [], set()
        for words, expected, *learn in CALLS:
            leaf = words.split(" --")[0].split(" {")[0]
            typed.add(leaf)
            code, out, err = await typing(words.format_map(defaultdict(lambda: "unknown", known)))
            problem = trouble(leaf, expected, code, out, err)
            if problem:
                failed.append(f"wharfd {words}: {problem}\n{out}{err}")
            for name, _, path in (one.partition("=") for one in learn if not problem):
                known[name] = learnt(json.loads(out), path)
        assert not failed, "\n".join(failed)
        given = set(leaves(typing.parser))
        missing = {
            leaf for leaf in given if not any(one == leaf or one.startswith(f"{leaf} ") for one in typed)
        }
        assert missing == ELSEWHERE, "a command that is in no table, or in both"
        audit = (await typing.d.get("/api/v1/audit?limit=200")).json()["items"]
        assert {one["action"] for one in audit} >= set(CHANGES.split())

        # From elsewhere: without the state folder a key opens the daemon, and without a key nothing does.
        far = f"--state-dir {place}"
        _, out, _ = await typing("keys create far --everybody --scope system:read")
        for words in ("status", "send payment-completed"):
            code, out_without, err = await typing(f"{words} {far}")
            assert trouble(words, 1, code, out_without, err) is None
            assert "WHARFD_KEY" in err
        monkeypatch.setenv("WHARFD_KEY", json.loads(out)["key"])
        assert trouble("status", 0, *await typing(f"status {far}")) is None
        code, out, err = await typing(f"work pause mint.intents {far}")
        assert (code, out, "system:write" in err) == (1, "", True)
        assert (await typing("work pause"))[:2] == (2, "")
