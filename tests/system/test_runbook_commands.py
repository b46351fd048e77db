"""The runbooks without running them: every page has its parts, every command in them exists as it stands there.

Whole commands (in ```sh blocks and indented lines) must be taken by the real parser; of those that stand in a
sentence the words that begin them and their options must exist. `test_runbooks.py` runs them.
"""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from wharfd.cli import _common_options, build_parser

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "README.md")
BY_ALERT = ("backups.md", "retention.md")
CONFIG = """
[plugins.mint]
minter = "http"
[plugins.mint.http]
url = "http://127.0.0.1:9/mint"
""" + "".join(
    f"[plugins.{name}]\n"
    for name in ("alerts", "backfill", "backups", "console", "feedback", "integrations", "metrics", "netbanx")
    + ("orders", "retention", "webhooks")
)
PIECE = re.compile(r"^ {4}(wharfd [^\n]*)$|^```sh\n(.*?)^```$|`(wharfd [^`]*)`", re.M | re.S)


def commands_of(text):
    """Give each command of a page as words, and whether it stands there whole."""
    for indented, block, inline in PIECE.findall(text):
        for line in (indented or block).splitlines():
            for part in re.split(r"\s*(?:&&|\|\||[|;>])\s*", line):
                if part.startswith("wharfd "):
                    yield shlex.split(part, comments=True)[1:], True
        if inline:
            yield shlex.split(inline)[1:], False


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "wharfd.toml"
    path.write_text(CONFIG)
    return build_parser(_common_options().parse_args(["--config", str(path)]), ["completion"])


def check_whole(parser, words):
    _, rest = _common_options().parse_known_args(words)
    try:
        parser.parse_args(rest)
    except SystemExit:
        pytest.fail(f"wharfd {shlex.join(words)} is no command as it stands there")


def check_part(parser, words):
    """Follow the words that name a command; behind them, every option must be one of its own."""
    for word in words:
        choices = actions_of(parser)
        if choices and not word.startswith("-"):
            assert word in choices, f"wharfd {' '.join(words)}: there is no {word}"
            parser = choices[word]
        elif word.startswith("--"):
            known = {*parser._option_string_actions, *_common_options()._option_string_actions}
            assert word in known, f"wharfd {' '.join(words)}: there is no {word}"


def actions_of(parser):
    found = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return found[0].choices if found else {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_as_it_stands_there(page, parser, capsys):
    found = list(commands_of(page.read_text()))
    assert found
    for words, whole in found:
        (check_whole if whole else check_part)(parser, words)


@pytest.mark.parametrize("name", ["backup", "retention", "archive"])
def test_every_action_stands_in_a_runbook(name, parser):
    used = {
        words[1]
        for page in PAGES
        for words, whole in commands_of(page.read_text())
        if whole and words[0] == name
    }
    assert used | {"runs"} == set(actions_of(actions_of(parser)[name])) | {"runs"}


def test_what_a_sentence_names_stands_whole_somewhere_and_is_run():
    found = [(tuple(words[:2]), whole) for page in PAGES for words, whole in commands_of(page.read_text())]
    run = {name for name, whole in found if whole}
    assert {name for name, _ in found} - run == set()


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in BY_ALERT], ids=lambda page: page.name)
def test_every_page_has_its_parts(page):
    text = page.read_text()
    for part in ("**Symptom**", "## Check", "## Command", "```sh", "```expect", "## Undo"):
        assert part in text, part


@pytest.mark.parametrize("name", BY_ALERT)
def test_every_section_of_an_alert_has_its_parts(name):
    for section in (RUNBOOKS / name).read_text().split("\n## ")[1:]:
        for part in ("**Symptom**", "**Check**", "**Do**", "Expected", "**Undo**"):
            assert part in section, (section.splitlines()[0], part)


def test_a_command_that_does_not_exist_is_noticed(parser, capsys):
    assert list(commands_of("```sh\nx | wharfd a b || true\n```\nand `wharfd c --d`\n    wharfd e  # f\n")) == [
        (["a", "b"], True), (["c", "--d"], False), (["e"], True),
    ]  # fmt: skip
    for words in (["backup", "mount", "--to-tome", "x"], ["backup", "list", "x"], ["nothing"]):
        with pytest.raises(pytest.fail.Exception, match="no command as it stands"):
            check_whole(parser, words)
    for words in (["backup", "restore", "--before"], ["backup", "remount"]):
        with pytest.raises(AssertionError, match="there is no"):
            check_part(parser, words)


def test_the_tests_that_the_page_of_traps_names_are_there():
    root = RUNBOOKS.parents[1]
    sources = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (root / "docs" / "backups.md").read_text())
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in sources] == []
