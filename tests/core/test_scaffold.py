"""`wharfd plugin new` writes a package whose own tests pass."""

import subprocess
import sys
from pathlib import Path

import pytest

from wharfd.errors import WharfdError
from wharfd.scaffold import write_plugin

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_new_plugin_passes_the_tests_it_comes_with(tmp_path):
    folder = write_plugin("loyalty", tmp_path)
    assert folder == tmp_path / "wharfd-loyalty"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_what_is_written_keeps_the_house_style(tmp_path):
    folder = write_plugin("loyalty_points", tmp_path)
    config = ["--config", str(ROOT / "pyproject.toml"), "--extend-ignore", "D1,ANN,I001"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *config, str(folder / "wharfd_loyalty_points")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Loyalty", "1st", "a-b", "", "x" * 40])
def test_a_name_that_does_not_fit_is_refused(tmp_path, name):
    with pytest.raises(WharfdError, match="is no name for a plugin"):
        write_plugin(name, tmp_path)


def test_nothing_is_overwritten(tmp_path):
    write_plugin("loyalty", tmp_path)
    with pytest.raises(WharfdError, match="is there already"):
        write_plugin("loyalty", tmp_path)
