"""Small habits that keep the code one house."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "daemon").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "base", "misc"}
LONGEST = 400


def test_a_file_holds_one_idea():
    assert len(SOURCES) > 100
    nameless = [path for path in SOURCES if path.stem in FORBIDDEN_NAMES]
    assert not nameless, "name the file after what it holds"
    too_long = [path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST]
    assert not too_long, f"more than {LONGEST} lines"


def test_nobody_sleeps_the_whole_process():
    asleep = [path for path in SOURCES if re.search(r"\btime\.sleep\(", path.read_text(encoding="utf-8"))]
    assert not asleep


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
