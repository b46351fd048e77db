"""Every command in the runbook, as it stands there, against a daemon that has something to retain."""

import argparse
import re
import shlex
from pathlib import Path

import trio

from wharfd import Client
from wharfd_retention.commands import COMMANDS
from wharfd_retention.watching import alerts

PAGE = Path(__file__).parents[3] / "docs" / "runbooks" / "retention.md"


def commands_of(text):
    return [shlex.split(line) for line in re.findall(r"^    (wharfd .*)$", text, re.MULTILINE)]


def test_each_alert_has_its_part():
    parts = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)
    for alert in alerts():
        assert alert.runbook == f"docs/runbooks/retention.md#{alert.name.replace('_', '-')}"
        assert alert.runbook.partition("#")[2] in parts


async def test_each_command_of_the_runbook_works(shop, capsys):
    async with shop("dry_run_first = false\n") as s:
        known = {command.name: command for command in COMMANDS}
        client = Client(s.d.api, s.d.token)
        seen = {}
        for _, name, *words in commands_of(PAGE.read_text()):
            parser = argparse.ArgumentParser()
            parser.add_argument("--json", action="store_true")
            known[name].configure(parser)
            if "arc_…" in words:
                archives = (await s.d.get("/api/v1/archive?table=shop.events")).json()["archives"]
                words[words.index("arc_…")] = archives[0]["id"]
            capsys.readouterr()
            assert await trio.to_thread.run_sync(known[name].run, parser.parse_args(words), client) == 0, (
                words
            )
            seen.setdefault(f"{name} {words[0]}", capsys.readouterr().out)
        assert set(seen) == {
            "retention runs", "retention run", "retention plan", "retention holds", "retention hold",
            "retention policies", "archive list", "archive query", "archive restore",
        }  # fmt: skip
        assert "retention has run" in seen["retention run"]
        assert "nothing was deleted: this was a dry run" in seen["retention plan"]
        assert "rehydrated_arc_" in seen["archive restore"]
        assert "hold_" in seen["retention hold"]
