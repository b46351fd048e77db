from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

import pytest
import tomli

from wharfd.config import CoreSettings, load_configuration, option
from wharfd.config.example import example_text
from wharfd.config.options import Reader
from wharfd.config.settings import Networks
from wharfd.errors import ConfigError
from wharfd.secrets import Secret


@dataclass(frozen=True)
class Inner:
    name: str = option(help="a name")
    weight: float = option(1.0, help="a weight")


@dataclass(frozen=True)
class Everything:
    text: str = option("", help="text")
    number: int = option(0, help="number")
    part: float = option(0.0, help="part")
    flag: bool = option(False, help="flag")
    path: Path | None = option(None, help="path")
    at: datetime | None = option(None, help="time")
    wait: timedelta = option(timedelta(0), help="wait")
    nets: Networks = option((), help="networks")
    mode: Literal["a", "b"] = option("a", help="mode")
    secret: Secret | None = option(None, help="secret")
    words: tuple[str, ...] = option((), help="words")
    inner: Inner | None = option(None, help="inner")
    inners: dict[str, Inner] = option(default_factory=dict, help="inners")
    keys: tuple[Secret | Inner, ...] = option((), help="keys")

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("number: must not be negative")


def read(toml, environ=None):
    reader = Reader(environ or {})
    return reader.read(Everything, tomli.loads(toml), "t"), [str(p) for p in reader.problems]


def test_every_supported_type_is_read(tmp_path):
    (tmp_path / "s").write_text("from-file\n")
    (tmp_path / "s").chmod(0o600)
    value, problems = read(
        f"""
        text = "x"
        number = 3
        part = 2
        flag = true
        path = "/etc/x"
        at = 2026-11-20T10:00:00
        wait = "5m"
        nets = ["10.0.0.0/8", "::1/128"]
        mode = "b"
        secret = {{ env = "KEY" }}
        words = ["a", "b"]
        inner = {{ name = "n" }}
        keys = ["plain", {{ file = "{tmp_path}/s" }}, {{ name = "table" }}]
        [inners.one]
        name = "first"
        weight = 2.5
        """,
        {"KEY": "hush"},
    )
    assert problems == []
    assert (value.text, value.number, value.part, value.flag) == ("x", 3, 2.0, True)
    assert value.at == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert value.wait == timedelta(minutes=5)
    assert value.nets == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert value.secret.reveal() == "hush"
    assert "hush" not in repr(value)
    assert value.inners["one"].weight == 2.5
    assert [k.reveal() if isinstance(k, Secret) else k.name for k in value.keys] == [
        "plain",
        "from-file",
        "table",
    ]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('number = "3"', "t.number: expected a whole number, got text ('3'); remove the quotes"),
        ("number = true", "t.number: expected a whole number, got true/false (True)"),
        ("number = 1.5", "t.number: expected a whole number, got float (1.5)"),
        ("number = -1", "t.number: must not be negative"),
        ("flag = 1", "t.flag: expected true or false, got int (1)"),
        ("text = 1", "t.text: expected a string, got int (1)"),
        ('wait = "5 minutes"', "t.wait: '5 minutes' is not a duration; write it like \"90s\", \"5m\", \"2h\" or \"30d\""),
        ('mode = "c"', "t.mode: text ('c') is none of 'a', 'b'; known here: a, b"),
        ('words = "a"', "t.words: expected a list, got text ('a')"),
        ("words = [1]", "t.words[0]: expected a string, got int (1)"),
        ("inner = {}", "t.inner.name: missing; a name"),
        ("inner = 3", "t.inner: expected a table, got int (3)"),
        ('nets = ["10.0.0.1/8"]', "t.nets[0]: 10.0.0.1/8 has host bits set; write it like \"10.0.0.0/8\""),
        ("txet = 1", "t.txet: unknown option; did you mean 'text'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place_and_the_way_out(toml, problem):
    value, problems = read(toml)
    assert value is None
    assert problems == [problem]


def test_a_secret_that_cannot_be_found_names_its_variable_and_no_value():
    _, (problem,) = read('secret = { env = "NO_SUCH" }', {"OTHER": "value"})
    assert problem.startswith("t.secret: ")
    assert "NO_SUCH" in problem


def test_text_that_is_not_toml_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"wharfd\.toml: is not TOML: .*line 2"):
        load_configuration("[http]\nbind = \n", {}, name="wharfd.toml")


def test_core_problems_are_collected():
    configuration = load_configuration('[htpp]\n[http]\nbind = "nowhere"\n[database]\npool_size = 1', {})
    assert [str(p) for p in configuration.problems] == [
        "htpp: unknown option; did you mean 'http'?",
        "http.bind: 'nowhere' is not an address; write it like \"127.0.0.1:8470\"",
        "database.pool_size: must be at least 3: one to accept, one to work, one to answer",
    ]


def test_reserved_plugin_keys_are_the_cores_and_the_rest_the_plugins():
    configuration = load_configuration(
        '[plugins.a]\nenabled = false\nx = 1\n[plugins.b]\nlog_level = "debug"', {}
    )
    assert configuration.enabled == ("b",)
    assert configuration.tables["a"] == {"x": 1}
    assert configuration.plugins["b"].log_level == "debug"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"REDIS_URL": "redis://r/1"}, "redis://r/1"),
        ({"REDIS_HOST": "r"}, "redis://r:6379/0"),
        (
            {"REDIS_HOST": "r", "REDIS_PORT": "7", "REDIS_PASSWORD": "p@/", "REDIS_DB": "2"},
            "redis://:p%40%2F@r:7/2",
        ),
    ],
)
def test_redis_variables_override_the_file(environ, expected):
    configuration = load_configuration('[redis]\nurl = "redis://file/0"', environ)
    assert configuration.core.redis.url.reveal() == expected


def test_webhook_variables_override_the_file_and_enable_nothing():
    environ = {
        "DATABASE_URL": "postgresql://d",
        "WEBHOOK_BATCH_SIZE": "50",
        "WEBHOOK_SIGNATURE_VALIDATION": "false",
    }
    bare = load_configuration("", environ)
    assert bare.core.ingest.batch_size == 50
    assert bare.core.database.url.reveal() == "postgresql://d"
    assert not bare.plugins
    with_netbanx = load_configuration("[plugins.netbanx]", environ)
    assert with_netbanx.tables["netbanx"] == {"signature_validation": False}


def test_a_bad_override_names_the_variable():
    configuration = load_configuration("", {"WEBHOOK_BATCH_SIZE": "many"})
    assert (
        str(configuration.problems[0])
        == "environment WEBHOOK_BATCH_SIZE: expected a whole number, got 'many'"
    )


def test_the_example_is_toml_and_changes_nothing():
    configuration = load_configuration(example_text(), {})
    assert configuration.core == CoreSettings()
    assert configuration.plugins == {}


def test_every_option_of_the_example_is_good_when_uncommented():
    core = example_text().split("## A plugin runs")[0]
    lines = [line.removeprefix("# ") if line.startswith("# ") else line for line in core.splitlines()]
    lines = [
        line
        for line in lines
        if "{ file" not in line and "{ credential" not in line and "{ certificate" not in line
    ]
    configuration = load_configuration("\n".join(lines), {})
    assert configuration.problems == ()
