import types

import pytest

from wharfd.config import load_configuration
from wharfd.declare import Route
from wharfd.loading import LoadedPlugin, PluginHost
from wharfd.registry import collect

PRELUDE = """
from dataclasses import dataclass
from wharfd.hookspecs import hookimpl, hookspec
from wharfd.declare import *
from wharfd.config import option
from wharfd.contracts.services import ServiceKey
async def handler(ctx, request): return None
"""


def gather(toml="", **plugins):
    host = PluginHost()
    for name, source in plugins.items():
        module = types.ModuleType(f"plugin_{name}")
        exec(PRELUDE + source, module.__dict__)
        host.add(LoadedPlugin(name, f"{name}-dist 1.0", module=module))
    return collect(host, load_configuration(toml, {}))


def route(path, method="GET"):
    return f"Route(method={method!r}, path={path!r}, handler=handler, scope='x:read')"


def routes(*paths, method="GET"):
    listed = ", ".join(route(path, method) for path in paths)
    return f"@hookimpl\ndef register_routes(settings): return [{listed}]"


def test_declarations_are_gathered_in_start_order():
    registry, problems = gather(a=routes("/a"), b=routes("/b", "/c"))
    assert not problems
    assert [(plugin, r.path) for plugin, r in registry.of(Route)] == [("a", "/a"), ("b", "/b"), ("b", "/c")]


def test_the_same_route_in_two_plugins_names_both_with_their_origin():
    _, (problem,) = gather(a=routes("/a/{id}"), b=routes("/a/{name}"))
    assert problem.where == "route GET /a/{}"
    assert problem.what == "declared by a (a-dist 1.0) and by b (b-dist 1.0)"


def test_the_same_path_with_another_method_is_no_conflict():
    _, problems = gather(a=routes("/a"), b=routes("/a", method="POST"))
    assert not problems


def test_an_ingest_path_claims_post():
    ingest = (
        "@hookimpl\ndef register_ingest(settings):\n"
        "    return [IngestRoute(source='s', paths=('/hook',), admit=handler, store=handler, spool=False)]"
    )
    _, problems = gather(a=ingest, b=routes("/hook", method="POST"))
    assert [p.where for p in problems] == ["route POST /hook"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("@hookimpl\ndef register_routes(settings): raise KeyError('x')", "register_routes failed: KeyError: 'x'"),
        ("@hookimpl\ndef register_routes(settings): return ['GET /']", "register_routes returned str; it must return Route"),
        (
            "@hookimpl\ndef register_routes(settings): return [Route(method='GET', path='a', handler=handler, scope=None)]",
            "register_routes failed: ValueError: Route: 'a' must begin with / and hold no ?",
        ),
        ("@hookimpl\ndef register_rotues(settings): pass", "it implements 'register_rotues', which is no hook; see docs/hooks.md"),
        ("@hookimpl\ndef register_settings(): raise SystemExit(1)", "register_settings failed: SystemExit: 1"),
    ],
)  # fmt: skip
def test_a_plugin_that_declares_nonsense_is_broken_and_alone(source, error):
    registry, problems = gather(bad=source, good=routes("/good"))
    assert not problems
    assert registry.host.plugins["bad"].error == error
    assert [plugin for plugin, _ in registry.of(Route)] == ["good"]


SETTINGS = """
@dataclass(frozen=True)
class Settings:
    times: int = option(help="how often")
    greeting: str = option("hello", help="what to say")
@hookimpl
def register_settings(): return Settings
@hookimpl
def register_routes(settings): return [Route(method="GET", path="/" + settings.greeting, handler=handler, scope=None)]
"""


def test_settings_are_typed_before_the_other_hooks_see_them():
    registry, problems = gather('[plugins.a]\ngreeting = "hi"\ntimes = 2\nlog_level = "debug"', a=SETTINGS)
    assert not problems
    assert registry.host.plugins["a"].settings.times == 2
    assert registry.of(Route)[0][1].path == "/hi"


def test_every_problem_of_every_plugin_is_in_one_report():
    _, problems = gather(
        '[plugins.a]\ngreting = "hi"\ntimes = "2"\n[plugins.b]\n[plugins.c]\nx = 1',
        a=SETTINGS,
        b=SETTINGS,
        c=routes("/c"),
    )
    assert [str(p) for p in problems] == [
        "plugins.a.greting: unknown option; did you mean 'greeting'?",
        "plugins.a.times: expected a whole number, got text ('2'); remove the quotes",
        "plugins.b.times: missing; how often",
        "plugins.c.x: this plugin has no settings; remove it",
    ]


def service(*provides, requires=(), optional=()):
    offers = [f"Provides(ServiceKey({name!r}), handler)" for name in provides]
    offers += [f"Requires(ServiceKey({name!r}))" for name in requires]
    offers += [f"Requires(ServiceKey({name!r}), optional=True)" for name in optional]
    return f"@hookimpl\ndef register_services(settings): return [{', '.join(offers)}]"


def test_providers_start_before_those_who_need_them():
    registry, problems = gather(a=service(requires=["y"]), b=service("y", optional=["z"]), c=service("z"))
    assert not problems
    assert registry.order == ("c", "b", "a")


def test_a_missing_service_is_a_problem_unless_optional():
    _, problems = gather(a=service(requires=["y"], optional=["z"]))
    assert [str(p) for p in problems] == ["plugins.a: needs the service y; enable a plugin that provides y"]


def test_a_circle_of_services_is_shown():
    _, (problem,) = gather(a=service("x", requires=["y"]), b=service("y", requires=["x"]))
    assert problem.what.startswith("need each other in a circle: ")


def test_two_providers_of_one_service_are_refused():
    _, (problem,) = gather(a=service("x"), b=service("x"))
    assert problem.where == "service x"


def test_a_plugin_can_add_hooks_of_its_own():
    spec = """
class Specs:
    @staticmethod
    @hookspec
    def before_delivery(ctx): pass
@hookimpl
def register_hookspecs(): return Specs
"""
    registry, problems = gather(webhooks=spec, other="@hookimpl\ndef before_delivery(ctx): return ctx")
    assert not problems
    assert not registry.host.plugins["other"].broken
    assert registry.host.call("other", "before_delivery", ctx=7) == 7
