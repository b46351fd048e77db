"""Every page is reached from the README, and every link leads somewhere."""

import re
import tomllib
from functools import cache
from urllib.parse import urlsplit

import pytest

from .reading import PAGES, ROOT


def links_of(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


@cache
def anchors_of(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links_of(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = page if not parts.path else (page.parent / parts.path).resolve()
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors_of(target), link


@pytest.mark.parametrize("index", ["README.md", "docs/runbooks/README.md", "docs/decisions/README.md"])
def test_an_index_names_every_page_beside_it(index):
    page = ROOT / index
    folder = ROOT / "docs" if index == "README.md" else page.parent
    named = {(page.parent / link).resolve() for link in links_of(page) if not urlsplit(link).scheme}
    missing = [
        str(one.relative_to(ROOT)) for one in folder.glob("*.md") if one.resolve() not in named | {page}
    ]
    assert missing == []


def test_extras_that_pages_name_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for page in PAGES:
        for found in re.findall(r"'(?:wharfd|\.)\[([a-z,]+)\]'", page.read_text(encoding="utf-8")):
            named |= set(found.split(","))
    assert {"embedded", "backups", "mint", "test"} <= named <= set(extras)
