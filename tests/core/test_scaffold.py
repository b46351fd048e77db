"""`wharfd plugin new` writes a package; that its own tests pass is shown in `test_third_party.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

from wharfd.errors import WharfdError
from wharfd.scaffold import write_plugin

ROOT = Path(__file__).parents[2]


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
