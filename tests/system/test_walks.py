"""The ways through the docs, walked line by line by `bench/walks.py`: each ends where its page says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WALKS = Path(__file__).parents[2] / "bench" / "walks.py"
MISSING = [name for name in ("bash", "curl", "git", "make", "unshare") if shutil.which(name) is None]


@pytest.mark.faults
@pytest.mark.skipif(bool(MISSING), reason=f"THE DOCS WERE NOT WALKED: there is no {', '.join(MISSING)}")
@pytest.mark.parametrize("walk", ["newcomer", "install", "plugin", "example"])
def test_it_ends_where_the_page_says(walk):
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("THE DOCS WERE NOT WALKED: this machine gives nobody a network of his own")
    done = subprocess.run(
        [sys.executable, str(WALKS), walk], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{walk}: " in done.stdout
