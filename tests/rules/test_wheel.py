"""The wheel holds exactly what the tree holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_source_roots_is_in_the_wheel(wheel_names):
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "daemon", "plugins"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    expected = {
        name.partition("/")[2]
        for name in tracked
        if not name.endswith(".gitkeep") and (ROOT / name).is_file()
    }
    missing = expected - wheel_names
    assert not missing


def test_the_wheel_holds_nothing_else(wheel_names):
    strangers = {
        n for n in wheel_names if not n.startswith(("wharfd/", "wharfd_")) and ".dist-info/" not in n
    }
    assert not {n for n in strangers if not n.endswith(".gitkeep")}
    assert not {n for n in wheel_names if n.startswith(("tests/", "daemon/", "plugins/"))}
