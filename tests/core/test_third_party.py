"""Plugins of others: the package of the docs and one that was just scaffolded, built, installed, tested.

Both go into wheels and from there into a virtual environment of their own, which sees what is installed here;
their tests run where their source is not. `tests/system/test_walks.py` (with `-m faults`) does it with pip.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from wharfd.loading import GROUP
from wharfd.scaffold import write_plugin

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wharfd-loyalty"


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def environment(tmp_path):
    """The folder of a new virtual environment with both plugins in it, and with what is installed here."""
    venv, wheels = tmp_path / "venv", tmp_path / "wheels"
    run(sys.executable, "-m", "venv", "--without-pip", str(venv), cwd=tmp_path)
    (packages,) = venv.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (packages / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    shutil.copytree(EXAMPLE, tmp_path / "wharfd-loyalty")
    for source in (tmp_path / "wharfd-loyalty", write_plugin("visits", tmp_path)):
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=source)
        (tmp_path / "tests" / source.name).parent.mkdir(exist_ok=True)
        shutil.move(source / "tests", tmp_path / "tests" / source.name)
        shutil.rmtree(source)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)  # which is all that installing a wheel of Python alone is
    return venv


@pytest.mark.slow
def test_they_pass_their_own_tests_from_a_wheel(environment, tmp_path):
    python = str(environment / "bin" / "python")
    options = ["-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", "--import-mode=importlib"]
    said = run(python, "-m", "pytest", *options, str(tmp_path / "tests"), cwd=tmp_path)
    assert re.search(r"^3\d passed", said, re.MULTILINE), said
    (packages,) = environment.glob("lib/python*/site-packages")
    names = {
        entry.name
        for one in distributions(path=[str(packages)])
        for entry in one.entry_points.select(group=GROUP)
    }
    assert names == {"loyalty", "visits"}
