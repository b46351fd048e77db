"""What `wharfd bench` says of this machine: every suite, on an embedded PostgreSQL of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile


def main() -> int:
    """Run it as a person would; its exit code is ours."""
    with tempfile.TemporaryDirectory(prefix="wharfd-bench-") as state:
        command = [sys.executable, "-m", "wharfd", "bench", "--state-dir", state, *sys.argv[1:]]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
