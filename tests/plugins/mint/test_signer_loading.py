"""Loading the signing library leaves the process as it was."""

from __future__ import annotations

import subprocess
import sys

HOSTILE = """
import msgspec, sys
from wharfd_mint.ethereum import load_account
limit = sys.getrecursionlimit()
load_account()
assert sys.getrecursionlimit() == limit
try:
    msgspec.json.decode(b"[" * 200_000)
except RecursionError:
    print("refused")
"""


def test_a_nested_body_is_still_refused_once_the_signer_is_loaded():
    done = subprocess.run([sys.executable, "-c", HOSTILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
