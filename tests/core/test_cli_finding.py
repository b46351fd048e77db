"""Which daemon and which configuration a command is for when the line does not say."""

import json
import os
from pathlib import Path

import pytest

from wharfd.app import prepare
from wharfd.cli import Parser, main
from wharfd.errors import ConfigError
from wharfd.state import known_config, own_state_folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "wharfd.toml"
    path.write_text('[http]\nbind = "127.0.0.1:9"\n[plugins.integrations]\n')
    return path


@pytest.fixture
def state(tmp_path, config):
    with own_state_folder(tmp_path / "state") as folder:
        folder.note_config(config)
    return tmp_path / "state"


def test_the_state_folder_tells_the_configuration_of_its_daemon(state, config, capsys, monkeypatch):
    monkeypatch.delenv("WHARFD_CONFIG", raising=False)
    assert known_config(state) == config
    assert main(["--state-dir", str(state), "keys", "list"]) == 69
    assert "no wharfd answers at http://127.0.0.1:9" in capsys.readouterr().err


def test_check_reads_the_configuration_of_the_daemon_it_stands_beside(state, config, capsys, monkeypatch):
    monkeypatch.delenv("WHARFD_CONFIG", raising=False)
    assert main(["--state-dir", str(state), "check"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"configuration: {config}\n")
    assert "integrations" in said
    config.write_text("[plugins.integrations]\nnonsense = 1\n")
    assert main(["--state-dir", str(state), "check"]) == 78
    assert "nonsense" in capsys.readouterr().err


def test_check_remarks_on_what_is_allowed_and_perhaps_not_meant(tmp_path, capsys):
    url, key, config = tmp_path / "url", tmp_path / "key", tmp_path / "wharfd.toml"
    url.write_text("redis://127.0.0.1:6379/0")
    url.chmod(0o644)
    key.write_text("ab" * 32)
    key.chmod(0o600)
    config.write_text(
        f'[redis]\nurl = {{ file = "{url}" }}\n[plugins.netbanx.sources.shop]\nkeys = [{{ file = "{key}" }}]\n'
    )
    assert main(["check", "--config", str(config), "--state-dir", str(tmp_path)]) == 0
    opened, decoded = capsys.readouterr().err.splitlines()
    assert opened.startswith("wharfd: remark: redis.url: file ")
    assert opened.endswith(f"run `chmod 600 {url}`")
    assert decoded.startswith("wharfd: remark: plugins.netbanx.sources.shop.keys[0]: the key looks like hex")


SETTINGS = """
from dataclasses import dataclass
from wharfd import hookimpl, option

@dataclass(frozen=True)
class Settings:
    word: str = option("", help="a word")
    def {method}(self): raise TypeError("not thought through")

@hookimpl
def register_settings(): return Settings
"""


def test_what_the_settings_of_a_plugin_raise_is_said_and_leaves_the_others_be(tmp_path, capsys):
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name, method in (("bad", "__post_init__"), ("odd", "remarks")):
        (folder / f"{name}.py").write_text(SETTINGS.format(method=method))
    config = tmp_path / "wharfd.toml"
    config.write_text(f'[daemon]\nplugins_dir = "{folder}"\n[plugins.bad]\n[plugins.odd]\n')
    told = ["--config", str(config), "--state-dir", str(tmp_path)]
    assert main(["check", *told, "--json"]) == 0
    said = capsys.readouterr()
    assert [(row["plugin"], row["state"], row["reason"]) for row in json.loads(said.out)] == [
        ("bad", "fail", "reading its settings failed: TypeError: not thought through"),
        ("odd", "ok", None),
    ]
    remark = "remark: plugins.odd: its remarks() failed: TypeError: not thought through"
    assert said.err == f"wharfd: {remark}\n"
    assert main(["status", *told, "--url", "http://127.0.0.1:9"]) == 69


def test_check_refuses_a_setting_that_the_embedded_postgresql_may_not_have(tmp_path, capsys):
    config = tmp_path / "w.toml"
    config.write_text('[database]\nsettings = { work_mem = "8MB", fsync = "off" }\n')
    assert main(["check", "--config", str(config), "--state-dir", str(tmp_path)]) == 78
    assert "database.settings.fsync: is fixed for the embedded PostgreSQL" in capsys.readouterr().err


def test_check_says_that_it_read_no_file(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WHARFD_CONFIG", raising=False)
    assert main(["--state-dir", str(tmp_path), "check"]) == 0
    said = capsys.readouterr().out
    assert said == "configuration: none was named; everything has its default\nno plugin is enabled\n"


def test_a_configuration_that_is_given_goes_before_it(state, tmp_path, capsys):
    given = tmp_path / "other.toml"
    given.write_text('[http]\nbind = "127.0.0.1:19"\n[plugins.integrations]\n')
    assert main(["--state-dir", str(state), "--config", str(given), "keys", "list"]) == 69
    assert "http://127.0.0.1:19" in capsys.readouterr().err


def test_the_note_of_a_daemon_without_a_file_or_of_somebody_else_is_not_followed(state, config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        assert known_config(state) is None
    config.unlink()
    assert known_config(state) is None
    with own_state_folder(state) as folder:
        folder.note_config(None)
    assert list(state.glob("config*")) == []


def test_without_any_configuration_the_commands_of_every_installed_plugin_are_there(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("WHARFD_CONFIG", raising=False)
    code = main(["--state-dir", str(tmp_path), "--url", "http://127.0.0.1:9", "deliveries", "list"])
    assert code == 69
    assert "no wharfd answers" in capsys.readouterr().err


def test_a_port_that_the_daemon_chose_has_to_be_told(tmp_path, capsys):
    config = tmp_path / "wharfd.toml"
    config.write_text('[http]\nbind = "127.0.0.1:0"\n')
    assert main(["status", "--config", str(config), "--state-dir", str(tmp_path)]) == 69
    assert "give its address with --url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "hint"), [("mint", "(a plugin's commands are there when"), ("kyes", "did you mean 'keys'?")]
)
def test_a_command_that_is_not_there_is_a_sentence_with_a_way_out(state, capsys, word, hint):
    with pytest.raises(SystemExit) as ended:
        main(["--state-dir", str(state), word, "list"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"there is no command {word!r}; " in said
    assert hint in said


def test_a_command_is_there_without_the_secrets_that_only_the_daemon_was_handed(tmp_path, capsys):
    config = tmp_path / "wharfd.toml"
    config.write_text(
        '[http]\nbind = "127.0.0.1:9"\n[plugins.backups]\nidentity = { credential = "identity" }\n'
    )
    told = ["--config", str(config), "--state-dir", str(tmp_path / "state")]
    assert main([*told, "backup", "list"]) == 69
    assert "no wharfd answers" in capsys.readouterr().err
    assert main([*told, "backup", "restore", "--into", str(tmp_path / "back")]) == 1
    said = capsys.readouterr().err
    assert "wharfd was started without credentials" in said
    assert "or give the file with --identity" in said
    assert not (tmp_path / "back").exists()


MINT = """[plugins.mint]
minter = "evm"
[plugins.mint.evm]
chain_id = 1
rpc = [{ credential = "rpc" }]
contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
key = { credential = "minter" }
"""


@pytest.mark.parametrize(
    ("table", "command"),
    [
        ('[plugins.netbanx.sources.shop]\nkeys = [{ credential = "k" }]\n', ["sources", "list"]),
        ('[plugins.netbanx.sources.shop]\nkeys = [{ value = { credential = "k" } }]\n', ["events", "list"]),
        (MINT, ["mint", "list"]),
    ],
)
def test_a_command_is_there_though_the_settings_check_a_secret_that_is_not(tmp_path, capsys, table, command):
    config = tmp_path / "wharfd.toml"
    config.write_text(f'[http]\nbind = "127.0.0.1:9"\n{table}')
    told = ["--config", str(config), "--state-dir", str(tmp_path / "state")]
    assert main([*told, *command]) == 69
    assert "no wharfd answers" in capsys.readouterr().err
    assert main([*told, "check"]) == 78
    assert "wharfd was started without credentials" in capsys.readouterr().err


SECRETS = """[secrets]
key = {{ credential = "k" }}
[daemon]
plugins_dir = "{plugins}"
[plugins.backups]
identity = {{ credential = "k" }}
[plugins.netbanx.sources.shop]
keys = [{{ credential = "k" }}]
[plugins.loyalty]
"""


def test_a_check_beside_the_daemon_passes_what_only_the_daemon_can_read(tmp_path, capsys, monkeypatch):
    """Systemd 252 hides credentials from ExecReload=: no reload would ever be let through."""
    stat = Path.stat

    def hidden(path, **options):
        if path.parent.name == "credentials":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "loyalty.py").write_text("from wharfd import hookimpl\n")
    config = tmp_path / "wharfd.toml"
    good = SECRETS.format(plugins=tmp_path / "plugins") + MINT
    config.write_text(good)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setattr(Path, "stat", hidden)
    told = ["--config", str(config), "--state-dir", str(tmp_path / "state")]
    assert main(["check", *told, "--json"]) == 0
    said = capsys.readouterr()
    assert {row["plugin"]: row["state"] for row in json.loads(said.out)} == dict.fromkeys(
        ("backups", "netbanx", "loyalty", "mint"), "ok"
    )
    unseen = [line.split(": ")[2] for line in said.err.splitlines() if line.startswith("wharfd: not seen: ")]
    assert unseen == [
        "secrets.key",
        "plugins.backups.identity",
        "plugins.netbanx.sources.shop.keys[0]",
        "plugins.mint.evm.rpc[0]",
        "plugins.mint.evm.key",
    ]
    assert "only the daemon itself can read it" in said.err
    assert main(["check", *told, "--strict"]) == 1
    capsys.readouterr()
    with pytest.raises(ConfigError, match="the configuration has 5 problems"):
        prepare(config, tmp_path / "state", os.environ)
    config.write_text(
        good.replace("[plugins.backups]", "[plugins.backups]\nkeep_dayly = 3") + "[plugins.alerts]\n"
    )
    assert main(["check", *told]) == 78
    said = capsys.readouterr().err
    assert "the configuration has 1 problem:" in said
    assert "keep_dayly: unknown option" in said


def test_a_path_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["plugin", "new", "loyalty", "--into", str(tmp_path / "file")]) == 1
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["", "config", "plugin", "secrets", "retention"])
def test_a_group_without_a_list_prints_its_help_when_it_stands_alone(tmp_path, capsys, group):
    assert main([*group.split(), "--state-dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"usage: wharfd {group}".rstrip())
    assert said.err == ""


def test_a_word_that_is_left_out_further_down_the_line_is_wrong_usage(capsys):
    parser = Parser(prog="wharfd loyalty")
    cards = parser.add_subparsers(dest="what", required=True).add_parser("cards")
    cards.add_subparsers(dest="action", required=True).add_parser("list")
    assert parser.missing(parser.parse_args([]))
    assert not parser.missing(parser.parse_args(["cards", "list"]))
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["cards"])
    assert ended.value.code == 2
    assert "required: action" in capsys.readouterr().err
