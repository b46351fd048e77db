"""The daemon as a whole, with plugins made for the test."""

import socket
import types

import pytest
import trio

from wharfd import sql
from wharfd.config import load_configuration
from wharfd.errors import ConfigError
from wharfd.front import Sockets
from wharfd.supervisor import State
from wharfd.systemd import Notifier

PRELUDE = """
from __future__ import annotations
from dataclasses import dataclass
import msgspec, trio
from wharfd import *
from wharfd import hookimpl
"""


def plugin(source, name="p"):
    module = types.ModuleType(f"plugin_{name}")
    exec(PRELUDE + source, module.__dict__)
    return module


HELLO = """
class Greeting(msgspec.Struct):
    greeting: str

async def hello(ctx, request):
    return Greeting("hello " + request.path["name"])

@hookimpl
def register_routes(settings):
    return [Route(method="GET", path="/hello/{name}", handler=hello, scope="hello:read")]
"""


async def test_a_route_of_a_plugin_answers(daemon):
    async with daemon(plugins={"hello": plugin(HELLO)}) as d:
        answer = await d.get("/hello/you")
        assert (answer.status, answer.json()) == (200, {"greeting": "hello you"})
        assert (await d.get("/hello/you", token=None)).status == 401
        assert d.state("hello") is State.RUNNING


BAD = {
    "provision": "@hookimpl\nasync def provision(ctx): raise RuntimeError('no key')",
    "run": "@hookimpl\nasync def run(ctx, task_status):\n    raise RuntimeError('no key')",
    "migration": "@hookimpl\ndef register_migrations(): return Migrations('no_such_package')",
    "handler": HELLO.replace("return Greeting", "raise RuntimeError('no key'); return Greeting"),
}


@pytest.mark.parametrize("where", ["provision", "run"])
async def test_a_plugin_that_cannot_start_is_contained_and_visible(daemon, where):
    bad = plugin(BAD[where] + "\n" + HELLO.replace("/hello", "/bad"), "bad")
    async with daemon(plugins={"bad": bad, "hello": plugin(HELLO)}) as d:
        assert (await d.get("/hello/you")).status == 200
        answer = await d.get("/bad/you")
        assert answer.status == 503
        assert "retry-after" in answer.headers
        ready = (await d.get("/health/ready")).json()
        assert ready["status"] == "degraded"
        bad_one = next(plugin for plugin in ready["plugins"] if plugin["name"] == "bad")
        assert bad_one["state"] in ("restarting", "starting")
        assert bad_one["reason"] == "RuntimeError: no key"


async def test_a_handler_that_raises_is_a_500_without_its_text(daemon):
    async with daemon(plugins={"hello": plugin(BAD["handler"])}) as d:
        answer = await d.get("/hello/you")
        assert answer.status == 500
        assert b"no key" not in answer.body
        assert d.state("hello") is State.RUNNING


def test_every_problem_is_reported_at_once(tmp_path):
    from wharfd.app import prepare

    path = tmp_path / "wharfd.toml"
    path.write_text("[http]\nbind = 3\n[plugins.netbnx]\n[database]\npool_sise = 3\n")
    with pytest.raises(ConfigError) as caught:
        prepare(path, tmp_path, {})
    assert len(caught.value.problems) == 3
    assert caught.value.exit_code == 78


WORKER = """
class Row(msgspec.Struct):
    id: int

class Greet(msgspec.Struct):
    name: str

async def greet(ctx, args, job):
    ctx.state.setdefault("greeted", []).append(args.name)

async def ask(ctx, request):
    async with ctx.db.transaction() as tx:
        job = await ctx.jobs.enqueue(tx, Greet(request.query["name"]))
    return {"job": job}

@hookimpl
def register_work(settings): return [JobKind(name="greet", args=Greet, handler=greet)]
@hookimpl
def register_routes(settings): return [Route(method="POST", path="/greet", handler=ask, scope="hello:write")]
"""


async def test_a_job_is_worked(daemon):
    async with daemon(plugins={"worker": plugin(WORKER)}) as d:
        answer = await d.post("/greet?name=ada")
        assert answer.status == 200, answer.body
        await d.drain("worker.greet")
        assert d.context("worker").state["greeted"] == ["ada"]


async def test_stopping_waits_for_work_in_hand(daemon):
    slow = (
        WORKER.replace(
            'ctx.state.setdefault("greeted", []).append(args.name)',
            'ctx.state["begun"].set(); await trio.sleep(0.2); ctx.state["ended"] = True',
        )
        + "\n@hookimpl\nasync def provision(ctx): ctx.state['begun'] = trio.Event()"
    )
    async with daemon(plugins={"worker": plugin(slow)}) as d:
        ctx = d.context("worker")
        await d.post("/greet?name=ada")
        with trio.fail_after(60):
            await ctx.state["begun"].wait()
    assert ctx.state["ended"]


async def test_a_context_can_be_had_without_a_flow(plugin_context):
    async with plugin_context(plugin(HELLO, "hello")) as ctx:
        assert ctx.name == "plugin_hello"
        assert await ctx.db.fetchval(sql("test.now", "SELECT now()")) is not None


def test_sockets_are_kept_by_systemd_for_their_address_only():
    kept, given_up = [], []

    class Keeper(Notifier):
        def store(self, name, sockets):
            kept.append((name, list(sockets)))
            return True

        def remove_stored(self, name):
            given_up.append(name)
            return True

    core = load_configuration('[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"', {}).core
    with Sockets.open(core, {}, Keeper(None)) as first:
        handed = {name: [one.dup() for one in sockets] for name, sockets in kept}
        assert [name.partition("-")[0] for name, _ in kept] == ["api", "ingest"]
        handed["ingest-of-an-older-address"] = [socket.create_server(("127.0.0.1", 0))]
        with Sockets.open(core, handed, Keeper(None)) as second:
            assert second.api[0].getsockname() == first.api[0].getsockname()
            assert second.ingest[0].getsockname() == first.ingest[0].getsockname()
    assert given_up == ["ingest-of-an-older-address"]
    assert len(kept) == 2


WATCHER = """
@hookimpl
async def provision(ctx): ctx.state["told"] = trio.Event()

@hookimpl
def observe_plugin_state(ctx, plugin, old, new):
    ctx.state.setdefault("states", []).append((plugin, str(old), str(new)))

@hookimpl
def observe_work_buried(ctx, queue, key, reason):
    ctx.state.setdefault("buried", []).append((queue, reason))
    ctx.state["told"].set()
    raise RuntimeError("an observer that fails")
"""


async def test_observers_hear_what_became_of_others_and_of_their_work(daemon):
    broken = "@hookimpl\ndef register_routes(settings): raise RuntimeError('no routes')"
    giving_up = WORKER.replace(
        'ctx.state.setdefault("greeted", []).append(args.name)', "raise Bury('no name')"
    )
    plugins = {
        "early": plugin(BAD["provision"]),
        "watcher": plugin(WATCHER + giving_up),
        "late": plugin(BAD["provision"]),
        "unsound": plugin(broken),
    }
    config = "".join(f'[plugins.{name}]\non_start_failure = "ignore"\n' for name in ("early", "late"))
    async with daemon(plugins=plugins, config=config) as d:
        assert (await d.post("/greet?name=ann")).status == 200
        heard = d.context("watcher").state
        with trio.fail_after(30):
            await heard["told"].wait()
        missed = {("early", "starting", "failed"), ("unsound", "waiting", "failed")}
        assert {*missed, ("late", "starting", "failed")} <= set(heard["states"])
        assert heard["buried"] == [("watcher.greet", "no name")]
