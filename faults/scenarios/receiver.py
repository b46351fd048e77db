"""The network between daemon and a receiver is bad, and the daemon is killed in the middle of it."""

from __future__ import annotations

import json
from collections import Counter

import trio

from wharfd.testing.receiver import Conversation, open_receiver

from ..proxy import Proxy
from ..stage import Scenario, Stage
from .network import FAULTS, break_by

CONFIG = """[plugins.webhooks]
allow_networks = ["127.0.0.0/8"]
timeout = "2s"
connect_timeout = "1s"
delays = [0.3, 0.3, 0.5, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
rest = "1s"
longest_rest = "2s"
"""
_OPEN = "SELECT count(*) FROM webhooks.deliveries WHERE state <> 'done'"
_STATES = "SELECT state, count(*) FROM webhooks.deliveries GROUP BY 1"
_DOUBLED = """SELECT count(*) FROM (SELECT message_id FROM webhooks.deliveries
    GROUP BY message_id, endpoint_id HAVING count(*) > 1) AS twice"""
_SETTLE_SECONDS = 120.0


async def run(stage: Stage) -> None:
    """Every acknowledged payment reaches the receiver, and a repeated send is known by its webhook-id."""
    heard: dict[str, set[str]] = {}
    sends: Counter[str] = Counter()
    async with open_receiver() as receiver, trio.open_nursery() as nursery:

        async def answer(conversation: Conversation) -> None:
            body = json.loads(conversation.request.body)
            reference = body["data"]["merchant_ref"]
            heard.setdefault(reference, set()).add(str(conversation.request.header("webhook-id")))
            sends[reference] += 1
            receiver.requests.clear()
            await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        receiver.answer = answer

        async def dial() -> trio.SocketStream:
            return await trio.open_tcp_stream("127.0.0.1", receiver.port)

        proxy = Proxy(dial)
        await nursery.start(proxy.run)
        daemon = await stage.started(activated=True, more=CONFIG)
        endpoint = {"url": f"http://127.0.0.1:{proxy.port}/hook", "events": ["payment.*"]}
        status, body = await daemon.ask("POST", "/api/v1/webhooks", json.dumps(endpoint).encode())
        stage.expect(status == 201, f"the endpoint was answered {status} {body!r}")
        async with stage.load(rate=60) as load:
            for _ in stage.times(1, 3, seconds=60):
                for fault in (*FAULTS, "killed"):
                    before = len(heard)
                    await load.more(30)
                    await break_by(proxy, fault)
                    await trio.sleep(stage.random.uniform(0.5, 1.5) * stage.scale(0.5, 2))
                    if fault == "killed":
                        await daemon.kill()
                        daemon.launch()
                    proxy.heal()
                    healed = trio.current_time()
                    with trio.move_on_after(60) as patience:
                        while len(heard) <= before:
                            await trio.sleep(0.01)
                    stage.expect(not patience.cancelled_caught, f"{fault}: nothing arrived within 60 s")
                    stage.recoveries.append(trio.current_time() - healed)
        await _delivered(stage)
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
        nursery.cancel_scope.cancel()
    stored = {row[0] for row in await stage.server.query(stage.database, stage.workload.stored)}
    stage.expect(stored <= heard.keys(), f"{len(stored - heard.keys())} payments never reached the receiver")
    stage.expect(heard.keys() <= stored, "the receiver heard of payments that are not stored")
    several = [reference for reference, ids in heard.items() if len(ids) > 1]
    stage.expect(not several, f"{len(several)} payments came under more than one webhook-id")
    twice = (await stage.server.query(stage.database, _DOUBLED))[0][0]
    stage.expect(twice == "0", f"{twice} events have two deliveries for one endpoint")
    again = sum(sends.values()) - len(sends)
    stage.note(
        f"{len(heard)} payments reached the receiver, {again} sends were repeats under the same webhook-id"
    )


async def _delivered(stage: Stage) -> None:
    stage.expect(await stage.settled(), "work was still open")
    with trio.move_on_after(_SETTLE_SECONDS):
        while (await stage.server.query(stage.database, _OPEN)) != [["0"]]:
            await trio.sleep(0.2)
        return
    states = await stage.server.query(stage.database, _STATES)
    stage.broken.append(f"deliveries were not done {_SETTLE_SECONDS:g} s after the end: {states}")


SCENARIO = Scenario(
    "network-receiver",
    "Delay, reset, half-close, black hole, refusal and kill -9 between daemon and a receiver.",
    run,
    workloads=("netbanx",),
)
