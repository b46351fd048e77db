"""The rules that every plugin keeps, and the plugin in a whole daemon."""

import argparse
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio

import wharfd_integrations
from wharfd import Client
from wharfd.cli.client import ClientError
from wharfd.config import load_configuration
from wharfd.config.options import Reader
from wharfd.testing.contract import PluginContract
from wharfd_integrations import commands


class TestIntegrations(PluginContract):
    plugin = wharfd_integrations


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("cache_seconds = 31", "at most 30"),
        ("cache_seconds = 0", "above 0"),
        ('default_scopes = ["orders"]', "default_scopes"),
        ('rotation_overlap = "40d"', "longest_overlap"),
        ('signature_tolerance = "1h"', "signature_tolerance"),
        ('test_timeout = "1m"', "test_timeout"),
        ("usage_buffer = 1", "usage_buffer"),
        ('mode = "prod"', "'live'"),
        ('allow_networks = ["10.0.0.1/8"]', "allow_networks"),
        ("cached_key = 5", "did you mean 'cached_keys'"),
    ],
)
def test_a_wrong_option_is_named(table, word):
    tables = load_configuration(f"[plugins.integrations]\n{table}", {}).tables
    reader = Reader({})
    assert (
        reader.read(wharfd_integrations.config.Settings, tables["integrations"], "plugins.integrations")
        is None
    )
    assert any(word in str(problem) for problem in reader.problems), reader.problems


async def test_a_key_opens_a_whole_daemon_and_its_use_survives_the_stop(daemon, tmp_path):
    where = {"plugins": {"integrations": wharfd_integrations}, "state_dir": tmp_path / "state"}
    async with daemon(**where) as d:
        body = {"name": "ops", "owner": "ann", "scopes": ["keys:read"], "rate_per_minute": 30}
        made = (await d.post("/api/v1/keys", body)).json()
        seen = await d.get("/api/v1/keys", token=made["key"])
        assert (seen.status, len(seen.json()["items"])) == (200, 1)
        assert seen.headers["x-ratelimit-remaining"] == "29"
        assert (await d.get("/api/v1/keys", token=made["key"][:-1])).status == 401
        settings = d.settings
    async with daemon(**where, settings=settings) as d:
        assert (await d.get("/api/v1/keys", token=made["key"])).status == 200
        path = f"/api/v1/keys/{made['details']['id']}"
        before = (await d.get(f"{path}/usage")).json()["items"]
        assert [(row["endpoint"], row["statusCode"]) for row in before][-1] == ("/api/v1/keys", 200)
        assert (await d.get(path)).json()["use_count"] >= 1
        assert (await d.get("/health/ready")).json()["status"] == "ok"
        assert b"wharfd_integrations_authentications_total" in (await d.get("/metrics")).body


# -- the command line ---------------------------------------------------------------------------------


def run(words, client, capsys, *, json=False):
    parser = argparse.ArgumentParser()
    parser.set_defaults(json=json)
    group = {"keys": commands.COMMANDS[0], "integrations": commands.COMMANDS[1]}[words[0]]
    group.configure(parser)
    code = group.run(parser.parse_args(words[1:]), client)
    return code, capsys.readouterr().out


async def test_the_commands(node, capsys):
    async with node() as n:
        client = Client(n.api.url, n.api.admin_token)

        async def wharfd(line, **more):
            return await trio.to_thread.run_sync(lambda: run(line.split(), client, capsys, **more))

        code, text = await wharfd(
            "keys create export --owner ann --scope keys:read --expires 90d --rate 5 --allow 127.0.0.1"
        )
        assert (code, "whk_live_" in text, "not shown again" in text) == (0, True, True)
        _, text = await wharfd("keys create pair --everybody --signed-only", json=True)
        made = msgspec.json.decode(text)
        assert made["secret"].startswith("whs_")
        key_id = made["details"]["id"]
        _, text = await wharfd("keys list --owner ann", json=True)
        (key,) = msgspec.json.decode(text)
        ends = datetime.fromisoformat(key["expires_at"])
        assert abs(ends - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)
        assert (key["allow_list"], key["rate_per_minute"], key["scopes"]) == (
            ["127.0.0.1/32"],
            5,
            ["keys:read"],
        )
        _, text = await wharfd(f"keys rotate {key_id} --overlap 0s", json=True)
        new_id = msgspec.json.decode(text)["details"]["id"]
        _, text = await wharfd(f"keys revoke {new_id} --reason leaked")
        assert new_id in text
        _, text = await wharfd(f"keys revoke {new_id}")
        assert "revoked before" in text
        with pytest.raises(ClientError, match="there is no key"):
            await wharfd("keys revoke key_none")

        integration = await n.make_integration()
        _, text = await wharfd("integrations list --type custom", json=True)
        assert [row["id"] for row in msgspec.json.decode(text)] == [integration["id"]]
        _, text = await wharfd(f"integrations show {integration['id']}")
        assert "a shop" in text
        assert "no requests yet" in text
        assert integration["apiSecret"] not in text
