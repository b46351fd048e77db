"""Completion in real shells, and where a key goes."""

import shutil
import subprocess

import pytest

from wharfd.cli import main
from wharfd.cli.client import Client
from wharfd.cli.output import Output, complain


def completion(capsys, shell):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["wharfd", "sta"], "status"),
        (["wharfd", "plugin", "n"], "new"),
        (["wharfd", "import", "--dr"], "--dry-run"),
    ],
)
def test_bash_completes_commands_actions_and_options(capsys, line, expected):
    words = " ".join(line)
    test = f'COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _wharfd; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", completion(capsys, "bash") + test], capture_output=True, text=True, check=True
    )
    assert expected in done.stdout.split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(capsys, shell, tmp_path):
    script = completion(capsys, shell)
    assert "/plugin/new" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: only the text was looked at")
    path = tmp_path / "completion"
    path.write_text(script)
    assert subprocess.run([shell, "-n", str(path)], check=False).returncode == 0


def test_the_admin_token_stays_on_this_machine(tmp_path):
    (tmp_path / "admin.token").write_text("secret")
    near = Client.for_daemon("127.0.0.1:8470", tmp_path, {})
    far = Client.for_daemon("127.0.0.1:8470", tmp_path, {"WHARFD_URL": "https://elsewhere.example"})
    keyed = Client.for_daemon("127.0.0.1:8470", tmp_path, {"WHARFD_URL": far.url, "WHARFD_KEY": "whk_1"})
    assert (near._token, far._token, keyed._token) == ("secret", None, "whk_1")


def test_a_daemon_that_is_away_is_a_sentence_and_69(capsys, tmp_path):
    code = main(["--url", "http://127.0.0.1:9", "--state-dir", str(tmp_path), "top", "--once"])
    assert code == 69
    assert "no wharfd answers at http://127.0.0.1:9" in capsys.readouterr().err


async def test_top_shows_a_running_daemon(daemon, monkeypatch, capsys):
    import trio

    async with daemon() as d:
        monkeypatch.setenv("WHARFD_TOKEN", d.token)
        code = await trio.to_thread.run_sync(main, ["--url", d.api, "top", "--once"])
    assert code == 0
    assert "plugins" in capsys.readouterr().out


def test_what_comes_from_outside_steers_no_terminal(capsys):
    output = Output()
    evil = "a\x1b]0;title\x07\u202eb\0"
    output.table([{"name": evil}], ["name"])
    output.facts({"name": evil})
    output.line(evil)
    complain(evil)
    said = "".join(capsys.readouterr())
    assert said.count("a\\x1b]0;title\\x07\\u202eb\\x00") == 4
    assert not set(said) & {"\x1b", "\x07", "\u202e", "\0"}
