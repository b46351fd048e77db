"""Outbound webhooks through a whole daemon: deliveries per second, and latency from publish to receiver.

    python bench/webhooks.py                  # short: 4,000 deliveries, 5 s per rate
    python bench/webhooks.py --deliveries 20000 --seconds 30 --rates 50,200,500
    python bench/webhooks.py --endpoints 1000 --holes 100 --rates 200   # 10 % never answer; compare --holes 0

A throwaway PostgreSQL is started (fsync on). The receiver is a process of its own on the same machine and
stores nothing; each endpoint has a loopback address of its own, as it would have a host of its own. The
daemon stores every attempt before it sends and every result after. Latency is measured from
before the publishing transaction begins (event, inbox, fan-out, delivery, send) to the request's arrival.
The publisher is a plugin in the same process: its transactions are part of what the daemon has to do.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import trio
from rig import durable_postgres, receiver

from wharfd import EventType, hookimpl
from wharfd.app import assemble, run
from wharfd.config import load_configuration
from wharfd.contracts.events import Event
from wharfd.loading import LoadedPlugin, find_plugins
from wharfd.testing.postgres import Cluster

MARK = b'"at":'


class Tick(Event, frozen=True, kw_only=True):
    """An event that carries when it was published."""

    type: ClassVar[str] = "bench.tick"
    at: float
    number: int


def publisher() -> ModuleType:
    """A plugin that publishes `bench.tick`."""
    module = ModuleType("wharfd_bench")

    @hookimpl
    def register_subscriptions(settings: Any) -> list[Any]:
        return [EventType(Tick)]

    module.register_subscriptions = register_subscriptions  # type: ignore[attr-defined]
    return module


# -- the receiver: `python bench/webhooks.py receiver` ---------------------------------------------------


async def receive() -> None:
    """Serve: POST counts and notes how old the event is, GET returns what was noted and forgets it."""
    ages: list[float] = []
    span = [0.0, 0.0]

    async def serve(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        while True:
            while (end := buffer.find(b"\r\n\r\n")) < 0:
                data = await stream.receive_some(65536)
                if not data:
                    return
                buffer += data
            head = bytes(buffer[:end]).lower()
            del buffer[: end + 4]
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            while len(buffer) < length:
                buffer += await stream.receive_some(65536)
            body = bytes(buffer[:length])
            del buffer[:length]
            if head.startswith(b"get"):
                text = json.dumps({"ages": ages, "span": span}).encode()
                ages.clear()
                span[:] = [0.0, 0.0]
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                continue
            if head.startswith(b"post /hole"):
                await trio.sleep_forever()
            now = time.time()
            mark = body.find(MARK)
            ages.append(now - float(body[mark + len(MARK) :].split(b",")[0]))
            span[:] = [span[0] or now, now]
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="0.0.0.0")
        print(listener.socket.getsockname()[1], flush=True)
        nursery.start_soon(trio.serve_listeners, serve, [listener])


# -- the daemon ------------------------------------------------------------------------------------------


@asynccontextmanager
async def daemon(cluster: Cluster, folder: Path) -> AsyncIterator[Any]:
    """A whole daemon on a fresh database."""
    cluster.psql("postgres", "CREATE DATABASE bench OWNER wharfd_owner")
    text = (
        '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n[log]\nlevel = "error"\n'
        f'[database]\nurl = "{cluster.dsn("bench", "wharfd_app")}"\n'
        f'owner_url = "{cluster.dsn("bench")}"\n'
        '[plugins.webhooks]\nallow_networks = ["127.0.0.0/8"]\n[plugins.bench]\n'
    )
    configuration = load_configuration(text, {})
    found, missing = find_plugins({"webhooks": None}, configuration.core.daemon.plugins_dir)
    found.append(LoadedPlugin("bench", "the benchmark", module=publisher()))
    prepared = assemble(configuration, found, missing, path=None, state_dir=folder / "state")

    async def start(task_status: Any) -> None:
        await run(prepared, environ={}, task_status=task_status)

    async with trio.open_nursery() as nursery:
        running = await nursery.start(start)
        with trio.fail_after(30):
            while not {"webhooks", "bench"} <= set(running.lives.contexts):  # noqa: ASYNC110
                await trio.sleep(0.05)
        yield running
        running.stop.set()


async def add_endpoints(ctx: Any, port: int, count: int, holes: int) -> None:
    from wharfd import new_id
    from wharfd_webhooks.model.keys import new_key
    from wharfd_webhooks.store import endpoints

    async with ctx.db.transaction() as tx:
        for i in range(count):
            endpoint = endpoints.NewEndpoint(
                id=new_id("wh"),
                owner=f"o{i}",
                url=f"http://127.0.{1 + i // 250}.{1 + i % 250}:{port}/{'hole' if i < holes else i}",
                events=["bench.*"],
                max_in_flight=16,
            )
            await endpoints.add(tx, ctx.secrets, endpoint)
            await endpoints.add_secret(tx, ctx.secrets, endpoint.id, new_key())


async def fetch_ages(ctx: Any, port: int, wanted: int, seconds: float) -> dict[str, Any]:
    """Wait until so many requests have arrived and return what the receiver noted."""
    ages: list[float] = []
    spans: list[list[float]] = []
    with trio.move_on_after(seconds):
        while len(ages) < wanted:
            answer = await ctx.http.request(
                "GET",
                f"http://127.0.0.1:{port}/",
                deadline=10,
                max_response_bytes=1 << 26,
                policy=ctx.state["policy"],
            )
            noted = json.loads(answer.body)
            ages += noted["ages"]
            if noted["ages"]:
                spans.append(noted["span"])
            await trio.sleep(0.1)
    return {"ages": sorted(ages), "seconds": max(s[1] for s in spans) - min(s[0] for s in spans)}


def part(ages: list[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return 1000 * ages[min(len(ages) - 1, int(len(ages) * share))]


async def measure(options: argparse.Namespace, port: int, cluster: Cluster, folder: Path) -> None:
    async with daemon(cluster, folder) as running:
        ctx, shop = running.lives.contexts["webhooks"], running.lives.contexts["bench"]
        await add_endpoints(ctx, port, options.endpoints, options.holes)

        def healthy(count: int) -> int:
            return sum(n % options.endpoints >= options.holes for n in range(count))

        async def publish(numbers: range) -> None:
            async with shop.db.transaction() as tx:
                events = [Tick(at=time.time(), number=n, owner=f"o{n % options.endpoints}") for n in numbers]
                await shop.events.publish_many(tx, events)

        await publish(range(200))
        await fetch_ages(ctx, port, healthy(200), 30)

        total = healthy(options.deliveries)
        await ctx.work.pause("deliveries", actor="bench")
        for start in range(0, options.deliveries, 500):
            await publish(range(start, min(start + 500, options.deliveries)))
        with trio.fail_after(120):
            while (await ctx.work.statistics("fan_out")).ready:  # noqa: ASYNC110  the database changes it
                await trio.sleep(0.1)
        ctx.state["sender"].begin.groups = ctx.state["sender"].begin.items = 0
        started, used = time.perf_counter(), os.times()
        await ctx.work.resume("deliveries", actor="bench")
        found = await fetch_ages(ctx, port, total, 120)
        spent = os.times()
        cpu = (spent.user + spent.system - used.user - used.system) / (time.perf_counter() - started)
        begin = ctx.state["sender"].begin
        print(
            f"sustained: {len(found['ages']) / found['seconds']:.0f} deliveries/s, "
            f"{len(found['ages'])} deliveries to {options.endpoints} endpoints "
            f"(daemon {100 * cpu:.0f} % of a core, "
            f"{begin.items / max(1, begin.groups):.0f} attempts per statement)"
        )
        for rate in options.rates:
            await paced(publish, rate, options.seconds)
            wanted = healthy(int(rate * options.seconds))
            found = await fetch_ages(ctx, port, wanted, 60)
            ages = found["ages"]
            print(
                f"{rate:>4}/s: {len(ages)} of {wanted} delivered, p50 {part(ages, 0.5):.1f} ms, "
                f"p95 {part(ages, 0.95):.1f} ms, p99 {part(ages, 0.99):.1f} ms"
            )


async def paced(publish: Any, rate: int, seconds: float) -> None:
    """Publish single events at an even rate, each in a transaction of its own."""
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for n in range(int(rate * seconds)):
            await trio.sleep_until(start + n / rate)
            nursery.start_soon(publish, range(n, n + 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="daemon", choices=["daemon", "receiver"])
    parser.add_argument("--deliveries", type=int, default=4000)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--holes", type=int, default=0, help="endpoints that never answer")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--rates", type=lambda text: [int(part) for part in text.split(",")], default=[50, 200, 500]
    )
    options = parser.parse_args()
    if options.what == "receiver":
        trio.run(receive)
        return
    with (
        receiver(__file__, "receiver") as port,
        durable_postgres() as cluster,
        tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder,
    ):
        trio.run(measure, options, port, cluster, Path(folder))


if __name__ == "__main__":
    main()
