"""The short version of the fault matrix, and proof that its checker would notice."""

from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[2]
SHORT = ("mixed",)

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


async def test_nothing_is_lost_and_nothing_happens_twice():
    from faults.runner import cluster, play
    from faults.scenarios import SCENARIOS

    async with cluster() as server:
        for name in SHORT:
            result = await play(SCENARIOS[name], server, seed=5, short=True, command="")
            assert result.held, (result.broken, result.notes, result.outcomes)
            assert result.acknowledged > 50


async def test_the_checker_sees_what_is_lost_left_undone_doubled_and_invented(tmp_path):
    from faults.checker import judge
    from faults.ledger import Ledger
    from faults.runner import cluster
    from faults.workload import PROOF

    book = Ledger(tmp_path / "ledger")
    for operation in ("good", "lost", "undone", "doubled", "unacknowledged"):
        book.offer(operation)
        if operation != "unacknowledged":
            book.acknowledge(operation, 0.1)
    book.close()
    with (tmp_path / "ledger").open("a") as torn:
        torn.write("a never-who")
    async with cluster() as server:
        for statement in (
            "CREATE SCHEMA proof",
            "CREATE TABLE proof.entries (id text); CREATE TABLE proof.effects (entry text)",
            "CREATE TABLE proof.heard (entry text)",
            "INSERT INTO proof.entries VALUES ('good'), ('undone'), ('doubled'), ('invented')",
            "INSERT INTO proof.effects VALUES ('good'), ('doubled'), ('doubled'), ('lost')",
            "INSERT INTO proof.heard VALUES ('good'), ('doubled'), ('lost'), ('undone')",
        ):
            await server.query("postgres", statement)
        verdict = await judge(server, "postgres", PROOF, tmp_path / "ledger")
    assert verdict.acknowledged == 4
    assert verdict.lost == ("lost",)
    assert verdict.unworked == ("undone",)
    assert verdict.doubled == ("doubled",)
    assert verdict.invented == ("invented",)
    assert not verdict.clean


async def test_the_proxy_passes_resets_and_holds_back(nursery):
    from faults.proxy import Proxy

    async def echo(stream):
        async for data in stream:
            await stream.send_all(data)

    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    port = listeners[0].socket.getsockname()[1]

    async def dial():
        return await trio.open_tcp_stream("127.0.0.1", port)

    proxy = Proxy(dial)
    await nursery.start(proxy.run)
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            await stream.send_all(b"one")
            assert await stream.receive_some() == b"one"
            proxy.black_hole()
            await stream.send_all(b"two")
            with trio.move_on_after(0.1) as nothing:
                await stream.receive_some()
            assert nothing.cancelled_caught
            proxy.heal()
            assert await stream.receive_some() == b"two"
            assert proxy.reset_all() == 1
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
    nursery.cancel_scope.cancel()


def test_every_scenario_is_listed_under_its_own_name():
    from faults.scenarios import _TABLE, SCENARIOS
    from faults.workload import WORKLOADS

    assert len(SCENARIOS) == len(_TABLE) == len(set(SCENARIOS))
    assert set(SHORT) <= {one.name for one in _TABLE if one.short}
    assert all(set(one.workloads) <= set(WORKLOADS) for one in _TABLE)
