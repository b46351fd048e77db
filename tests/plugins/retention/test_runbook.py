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


async def known_id(s, name):
    """The id that stands as `arc_…` or `hold_…` in the runbook."""
    if name.startswith("hold_"):
        return (await s.d.get("/api/v1/retention/holds")).json()["holds"][0]["id"]
    archives = (await s.d.get("/api/v1/archive?table=shop.events")).json()["archives"]
    return next(unit["id"] for unit in archives if unit["rows"] and unit["state"] == "detached")


async def test_each_command_of_the_runbook_works(shop, capsys):
    async with shop("dry_run_first = false\n", grace="7d") as s:
        known = {command.name: command for command in COMMANDS}
        client = Client(s.d.api, s.d.token)
        seen = {}
        for _, name, *words in commands_of(PAGE.read_text()):
            parser = argparse.ArgumentParser()
            parser.add_argument("--json", action="store_true")
            known[name].configure(parser)
            for place, word in enumerate(words):
                if word.endswith("…"):
                    words[place] = await known_id(s, word)
                words[place] = words[place].replace("netbanx.events", "shop.events")  # what this daemon has
            capsys.readouterr()
            assert await trio.to_thread.run_sync(known[name].run, parser.parse_args(words), client) == 0, (
                words
            )
            seen.setdefault(f"{name} {words[0]}", capsys.readouterr().out)
        assert set(seen) == {
            f"{command.name} {action}" for command in COMMANDS for action in actions_of(command)
        }
        assert "retention has run" in seen["retention run"]
        assert "nothing was deleted: this was a dry run" in seen["retention plan"]
        assert "second whole" in " ".join(seen["archive verify"].split())
        assert "rehydrated.arc_" in seen["archive restore"]
        assert "rehydrated.arc_" in seen["archive rehydrated"]
        assert "rehydrated.arc_" in seen["archive drop"]
        assert "shop.events_y" in seen["retention put-back"]
        assert "hold_" in seen["retention hold"]
        assert "hold_" in seen["retention release"]


def actions_of(command):
    """Every action there is: each of them stands in the runbook."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    (actions,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return set(actions.choices)
