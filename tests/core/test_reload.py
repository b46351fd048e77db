"""SIGHUP's work: what changes while running, what is refused by name, what stays."""

import types

import pytest

from wharfd.app import assemble
from wharfd.config import load_configuration
from wharfd.loading import LoadedPlugin
from wharfd.supervisor import State

SOURCE = """
from dataclasses import dataclass
from wharfd import Route, hookimpl, option
from wharfd.declare import IngestRoute

@dataclass(frozen=True)
class Settings:
    greeting: str = option("hello", help="what to say", live=True)
    fixed: int = option(1, help="what cannot change")

async def hello(ctx, request): return {"greeting": ctx.settings.greeting}

@hookimpl
def register_settings(): return Settings
@hookimpl
def register_routes(settings): return [Route(method="GET", path="/PATH", handler=hello, scope="hello:read")]
"""


def plugin(name):
    module = types.ModuleType(f"plugin_{name}")
    exec(SOURCE.replace("PATH", name), module.__dict__)
    return module


@pytest.fixture
def change(tmp_path):
    async def change_to(d, toml, **plugins):
        configuration = load_configuration(core_of(d) + toml, {})
        loaded = [LoadedPlugin(name, "the test", module=module) for name, module in plugins.items()]
        new = assemble(configuration, loaded, path=None, state_dir=tmp_path)
        return await d.running.reloader.change_to(new.configuration, new.registry)

    def core_of(d):
        return (
            '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
            f'[database]\nurl = "{d.settings.url}"\nowner_url = "{d.settings.owner_url}"\n'
        )

    return change_to


async def test_a_live_setting_restarts_that_plugin_alone(daemon, change):
    a, b = plugin("a"), plugin("b")
    async with daemon(plugins={"a": a, "b": b}) as d:
        before = d.context("b")
        changes = await change(d, '[plugins.a]\ngreeting = "hi"\n[plugins.b]\n', a=a, b=b)
        assert changes.applied == ["plugins.a.greeting"]
        assert (await d.get("/a")).json() == {"greeting": "hi"}
        assert d.context("b") is before


async def test_a_setting_that_is_not_live_is_refused_by_name(daemon, change):
    a = plugin("a")
    async with daemon(plugins={"a": a}) as d:
        changes = await change(d, '[plugins.a]\nfixed = 2\ngreeting = "hi"\n', a=a)
        assert changes.refused == ["plugins.a.fixed"]
        assert (await d.get("/a")).json() == {"greeting": "hello"}


async def test_core_settings_are_applied_or_refused(daemon, change):
    async with daemon() as d:
        changes = await change(d, '[log]\nlevel = "debug"\n[redis]\nurl = "redis://127.0.0.1:1/0"\n')
        assert changes.applied == ["log.level"]
        assert changes.refused == ["redis.url"]
        again = await change(d, '[log]\nlevel = "debug"\n')
        assert (again.applied, again.refused) == ([], [])


async def test_plugins_are_disabled_and_enabled(daemon, change):
    a, b = plugin("a"), plugin("b")
    async with daemon(plugins={"a": a}) as d:
        changes = await change(d, "[plugins.b]\n", b=b)
        assert sorted(changes.applied) == ["plugins.a disabled", "plugins.b enabled"]
        assert (await d.get("/a")).status == 404
        assert (await d.get("/b")).json() == {"greeting": "hello"}
        assert "a" not in d.running.supervisor.plugins
        await change(d, "[plugins.a]\n[plugins.b]\n", a=a, b=b)
        assert (await d.get("/a")).status == 200
        assert d.state("a") is State.RUNNING
        assert "/b" in (await d.get("/openapi.json")).json()["paths"]
