"""The third-party package of the docs: its own tests, run here as they are, beside our own.

`tests/system/test_walks.py` (with `-m faults`) runs them as its author does: from a wheel, elsewhere.
"""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wharfd-loyalty"


def load(path):
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))
_theirs = load(EXAMPLE / "tests" / "test_loyalty.py")
globals().update(
    {name: value for name, value in vars(_theirs).items() if re.match(r"test_|Test|shop$", name)}
)


def test_its_name_leads_to_its_package():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["wharfd.plugins"] == {"loyalty": "wharfd_loyalty"}


@pytest.mark.parametrize("page", ["README.md", "wharfd_loyalty/README.md"])
def test_its_pages_name_what_is_there(page):
    text = (EXAMPLE / page).read_text(encoding="utf-8")
    for name in re.findall(r"^\| `([\w./]+\.\w+)` \|", text, re.MULTILINE):
        assert (EXAMPLE / name).exists() or (EXAMPLE / "wharfd_loyalty" / name).exists(), name
    if page.startswith("wharfd_loyalty"):
        for route in _theirs.routes.ROUTES:
            assert f"{route.method} {route.path}" in text
