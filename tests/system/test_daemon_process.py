"""The daemon as its operator meets it: start, stop, kill -9, and every wrong way to start it."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from wharfd.state import known_config

pytestmark = pytest.mark.system


def wharfd(*arguments, environ=None):
    return subprocess.run(
        [sys.executable, "-m", "wharfd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(environ or {})},
    )


def test_first_start_greets_and_sigterm_ends_it_well(start):
    process = start()
    process.wait_ready()
    assert process.get("/health/live")[0] == 200
    assert f"API http://127.0.0.1:{process.api}" in process.log
    assert f"ingest http://127.0.0.1:{process.ingest}" in process.log
    assert str(process.state / "admin.token") in process.log
    assert (process.state / "admin.token").stat().st_mode & 0o777 == 0o600
    assert process.stop() == 0
    assert '"event":"stopped"' in process.log


def test_it_starts_again_after_kill_9(start, state):
    first = start(state=state)
    first.wait_ready()
    first.popen.kill()
    first.popen.wait()
    second = start(state=state)
    second.wait_ready()
    assert known_config(state) == second.config
    assert second.stop(signal.SIGINT) == 0


def test_two_daemons_on_one_state_folder_are_refused(start, state):
    first = start(state=state)
    first.wait_ready()
    second = start(state=state)
    assert second.popen.wait(20) != 0
    assert f"another wharfd (process {first.popen.pid}) runs on the state folder" in second.log


def test_a_taken_port_is_one_sentence(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(api=port)
        assert process.popen.wait(20) == 1
    assert f"127.0.0.1:{port} is in use by another program" in process.log
    assert "Traceback" not in process.log
    assert not process.state.exists()


def test_a_wrong_configuration_exits_78_with_every_problem(start):
    process = start("[log]\nlevel = 'loud'\n[plugins.nothing]\n")
    assert process.popen.wait(20) == 78
    assert "the configuration has 2 problems:" in process.log
    assert "log.level: text ('loud') is none of" in process.log
    assert "plugins.nothing: there is no plugin of that name" in process.log


def test_an_unreachable_postgresql_is_one_sentence(start):
    process = start('[database]\nurl = "postgresql://nobody:hush@127.0.0.1:1/none"\n')
    assert process.popen.wait(30) == 1
    assert "127.0.0.1:1" in process.log
    assert "hush" not in process.log
    assert "Traceback" not in process.log


def test_a_wrong_master_key_is_refused_before_anything_is_written(start, state):
    other = wharfd("secrets", "new-key", "--json").stdout
    key = other.split('"')[3]
    refused = start(f'[secrets]\nkey = "{key}"\n', state=state)
    assert refused.popen.wait(30) == 78
    assert "master key" in refused.log
    assert key not in refused.log
    start(state=state).wait_ready()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_state_folder_that_cannot_be_written_is_one_sentence(start, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    process = start(state=closed / "state")
    assert process.popen.wait(20) == 1
    assert "cannot be written" in process.log


def test_check_says_everything_and_exits_78(tmp_path):
    path = tmp_path / "wharfd.toml"
    path.write_text('[http]\nbind = "nowhere"\n[databse]\n')
    done = wharfd("check", "--config", str(path))
    assert done.returncode == 78
    assert "databse: unknown option; did you mean 'database'?" in done.stderr
    path.write_text("")
    assert wharfd("check", "--config", str(path)).returncode == 0


def test_a_command_without_a_daemon_says_how_to_start_one(tmp_path):
    done = wharfd("status", "--state-dir", str(tmp_path), environ={"WHARFD_URL": "http://127.0.0.1:1"})
    assert done.returncode == 69
    assert "start it with: wharfd run" in done.stderr


def test_the_master_key_is_rotated_and_the_old_one_forgotten(start, state):
    process = start(state=state)
    process.wait_ready()  # makes the first data keys
    process.stop()
    first = (state / "master.key").read_text().splitlines()[-1]
    second = json.loads(wharfd("secrets", "new-key", "--json").stdout)["key"]
    both = start(f'[secrets]\nkey = "{second}"\nold_keys = ["{first}"]\n', state=state)
    both.wait_ready()
    url = {"WHARFD_URL": f"http://127.0.0.1:{both.api}"}
    rotated = wharfd("secrets", "rotate", "--json", "--state-dir", str(both.state), environ=url)
    found = json.loads(rotated.stdout)
    assert found["changed"] == found["data_keys"] > 0
    both.stop()
    start(f'[secrets]\nkey = "{second}"\n', state=state).wait_ready()


def test_init_makes_everything_and_stops(initialised):
    assert (initialised / "master.key").exists()
    assert (initialised / "postgres" / "data").is_dir()
    assert not (initialised / "postgres" / "data" / "postmaster.pid").exists()
