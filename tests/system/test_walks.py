"""The ways through the docs, walked line by line by `bench/walks.py`: each ends where its page says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WALKS = Path(__file__).parents[2] / "bench" / "walks.py"
MISSING = [name for name in ("bash", "curl", "git", "make", "unshare") if shutil.which(name) is None]


@pytest.mark.faults
@pytest.mark.skipif(bool(MISSING), reason=f"THE DOCS WERE NOT WALKED: there is no {', '.join(MISSING)}")
@pytest.mark.parametrize("walk", ["newcomer", "plugin", "example"])
def test_it_ends_where_the_page_says(walk):
    done = subprocess.run(
        [sys.executable, str(WALKS), walk], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{walk}: " in done.stdout
