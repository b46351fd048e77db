import os
import subprocess
import sys

import pytest

from wharfd.errors import StateFolderError
from wharfd.state import own_state_folder


def test_the_folder_is_made_for_its_owner_alone(tmp_path):
    with own_state_folder(tmp_path / "a" / "b") as state:
        assert state.path.stat().st_mode & 0o777 == 0o700
        assert state.of_plugin("netbanx").is_dir()
        assert (state.path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_second_daemon_is_refused_by_the_pid_of_the_first(tmp_path):
    program = "import sys; from pathlib import Path; from wharfd.state import own_state_folder\nwith own_state_folder(Path(sys.argv[1])): pass"
    with own_state_folder(tmp_path):
        second = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert second.returncode != 0
    assert f"another wharfd (process {os.getpid()}) runs on the state folder" in second.stderr


def test_the_folder_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with own_state_folder(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StateFolderError, match=r"cannot be written .*name another with --state-dir"),
        own_state_folder(tmp_path / "file"),
    ):
        pass
