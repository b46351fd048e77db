import os
from pathlib import Path

import pytest

from wharfd.loading import LoadedPlugin, PluginHost, find_plugins, installed_plugins

INSTALLED = Path(__file__).parents[1] / "data" / "installed_plugin"


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.syspath_prepend(str(INSTALLED))


@pytest.fixture
def dropins(tmp_path):
    (tmp_path / "hello.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Settings:\n"
        "    greeting: str = 'hello'\n"
    )
    (tmp_path / "hello.py").chmod(0o644)
    return tmp_path


def find(*names, folder=None):
    return find_plugins(dict.fromkeys(names), folder)


def test_an_entry_point_is_imported_with_the_distribution_it_came_from():
    (plugin,), problems = find("loyal")
    assert not problems
    assert plugin.module.__name__ == "wharfd_loyal"
    assert plugin.origin == "wharfd-loyal 1.2"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken_at_import", "import failed: RuntimeError: no licence"),
        ("exits_at_import", "import failed: SystemExit: bye"),
    ],
)
def test_a_plugin_that_fails_at_import_is_kept_as_broken(name, error):
    (plugin, sound), problems = find(name, "loyal")
    assert not problems
    assert plugin.broken
    assert plugin.error == error
    assert not sound.broken


def test_a_misspelled_plugin_gets_a_suggestion():
    _, (problem,) = find("loyall")
    assert str(problem) == "plugins.loyall: there is no plugin of that name; did you mean 'loyal'?"


def test_two_offers_of_one_name_are_refused_by_both_names(dropins):
    (dropins / "loyal.py").write_text("")
    (dropins / "loyal.py").chmod(0o600)
    loaded, (problem,) = find("loyal", folder=dropins)
    assert not loaded
    assert "wharfd-loyal 1.2" in problem.what
    assert str(dropins / "loyal.py") in problem.what


def test_a_dropin_can_hold_dataclasses(dropins):
    (plugin,), problems = find("hello", folder=dropins)
    assert not problems
    assert plugin.module.Settings().greeting == "hello"
    assert installed_plugins(dropins)["hello"] == str(dropins / "hello.py")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_dropin_that_others_can_write_is_refused(dropins, mode):
    (dropins / "hello.py").chmod(mode)
    loaded, problems = find("hello", folder=dropins)
    assert not loaded
    assert "can write this plugin" in problems[0].what


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_dropin_of_another_user_is_refused(dropins):
    os.chown(dropins / "hello.py", 12345, 12345)
    _, problems = find("hello", folder=dropins)
    assert problems[0].what == "this plugin belongs to user 12345"


def test_a_missing_plugins_dir_is_a_problem(tmp_path):
    _, (problem,) = find(folder=tmp_path / "no")
    assert problem.where == "daemon.plugins_dir"


def host_of(make_module, **hooks):
    host = PluginHost()
    for name, source in hooks.items():
        host.add(LoadedPlugin(name, "test", module=make_module(name, source)))
    return host


@pytest.fixture
def make_module(tmp_path):
    import types

    def make(name, source):
        module = types.ModuleType(f"plugin_{name}")
        exec("from wharfd.hookspecs import hookimpl, hookspec\n" + source, module.__dict__)
        return module

    return make


def test_a_hook_is_called_for_one_plugin_only(make_module):
    source = "@hookimpl\ndef register_routes(settings): return [settings, {!r}]"
    host = host_of(make_module, a=source.format("a"), b=source.format("b"))
    assert host.call("a", "register_routes", settings=1) == [1, "a"]
    assert host.call("b", "register_routes", settings=2) == [2, "b"]
    assert host.call("a", "register_work", settings=1) is None


def test_a_hook_with_an_unknown_argument_makes_the_plugin_broken(make_module):
    host = host_of(make_module, a="@hookimpl\ndef register_routes(setting): pass")
    assert "its hooks do not fit" in host.plugins["a"].error


def test_an_observer_that_wants_to_be_awaited_is_refused(make_module):
    host = PluginHost()
    source = "@hookimpl\nasync def observe_work_buried(ctx, queue, key, reason): ..."
    host.add(LoadedPlugin("a", "test", module=make_module("a", source)))
    assert host.plugins["a"].error == (
        "its observe_work_buried is async; observers are called and not awaited: write it with def"
    )


def test_a_misspelled_hook_is_found_and_an_optional_one_is_not(make_module):
    host = host_of(
        make_module,
        a="@hookimpl\ndef register_rotues(settings): pass",
        b="@hookimpl(optionalhook=True)\ndef before_delivery(ctx): pass",
    )
    assert host.unknown_hooks() == [("a", "register_rotues")]


async def test_an_async_hook_returns_its_coroutine(make_module):
    host = host_of(make_module, a="@hookimpl\nasync def provision(ctx): return ctx")
    assert await host.call("a", "provision", ctx="me") == "me"
