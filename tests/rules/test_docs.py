"""The generated pages are fresh, and what the docs name exists."""

import re
from pathlib import Path

import pytest

from wharfd.cli.commands import CORE
from wharfd.docs import stale

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "systemd").glob("*.md"))]


def test_generated_pages_are_fresh():
    assert [str(path.relative_to(ROOT)) for path in stale(ROOT)] == [], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_names_files_that_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"`((?:docs|bench|faults|systemd|config|plugins|tests|daemon)/[\w./-]+\.\w+)`", text
    ):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_names_commands_that_exist(page):
    commands = {command.name for command in CORE}
    for path in (ROOT / "plugins").glob("*/*.py"):
        commands |= set(re.findall(r'Command\(\s*name="([\w-]+)"', path.read_text(encoding="utf-8")))
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"^ {4}(?:\S+/)?wharfd ([a-z]+)", text, re.MULTILINE):
        assert name in commands | {"serves"}, f"{page.name} names wharfd {name}, which is no command"


def test_the_makefile_has_the_targets_the_readme_names():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name} names make {target}"
