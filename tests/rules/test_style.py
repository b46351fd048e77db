"""Small habits that keep the code one house."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "daemon").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "base", "misc"}
LONGEST = 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_holds_one_idea(path):
    assert path.stem not in FORBIDDEN_NAMES, "name the file after what it holds"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_sleeps_the_whole_process(path):
    assert not re.search(r"\btime\.sleep\(", path.read_text(encoding="utf-8"))


def test_migrations_are_numbered_without_holes():
    for folder in {path.parent for path in ROOT.glob("*/*/**/migrations/*.sql")}:
        numbers = sorted(int(path.name[:4]) for path in folder.glob("*.sql"))
        assert numbers == list(range(1, len(numbers) + 1)), f"{folder} has {numbers}"
        assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", path.name) for path in folder.glob("*.sql"))


def test_no_path_of_a_machine_is_tracked():
    found = subprocess.run(
        [
            "git",
            "grep",
            "-nIE",
            r"(/home/[a-z]+/|/root/\.|/Users/)",
            "--",
            ".",
            ":!tests/rules/test_style.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert not found
