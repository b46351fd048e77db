"""Requests per second and CPU per request of the outbound client, beside httpcore, against a local receiver.

    python bench/outbound.py [--seconds 3]

Receiver and sender are two processes on one machine. Sockets, payload (500 bytes and signature headers) and
concurrency are the same for all senders; each runs alone, one after the other, in the same run.
"""

from __future__ import annotations

import argparse
import os
import platform
import time

import httpcore
import trio
from rig import receiver

from wharfd.http.outbound import Limits, NetworkPolicy, OutboundClient
from wharfd.testing.receiver import Conversation, open_receiver

CONCURRENCY = 16
BODY = b"x" * 500
HEADERS = [
    ("Content-Type", "application/json"),
    ("webhook-id", "msg_01jd00000000000000000000"),
    ("webhook-timestamp", "1700000000"),
    ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
]


async def serve() -> None:
    async with open_receiver() as receiver:

        async def answer(conversation: Conversation) -> None:
            receiver.requests.clear()
            await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        receiver.answer = answer
        print(receiver.port, flush=True)
        await trio.sleep_forever()


async def measure(name: str, send, seconds: float) -> float:
    count = 0

    async def work() -> None:
        nonlocal count
        while True:
            await send()
            count += 1

    await send()
    start, cpu = time.perf_counter(), time.process_time()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(CONCURRENCY):
                nursery.start_soon(work)
    took, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"  {name:<44}{count / took:>9,.0f} requests/s{used / count * 1e6:>8,.0f} µs CPU each")
    return count / took


async def main(seconds: float, port: int) -> None:
    url = f"http://127.0.0.1:{port}/hook"
    policy = NetworkPolicy(allow_networks=("127.0.0.0/8",))
    plain = [("Content-Length", str(len(BODY)))] + HEADERS

    async with OutboundClient(policy, limits=Limits(per_destination=CONCURRENCY)) as client:
        ours = await measure(
            "wharfd, 1 destination",
            lambda: client.request("POST", url, headers=HEADERS, body=BODY, deadline=10),
            seconds,
        )
    async with httpcore.AsyncConnectionPool(max_connections=CONCURRENCY) as pool:
        theirs = await measure(
            "httpcore, 1 destination",
            lambda: pool.request("POST", url, headers=plain, content=BODY),
            seconds,
        )
    print(f"  {'ratio':<44}{ours / theirs:>9.1f} ×")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    names = [f"http://h{n}.example:{port}/hook" for n in range(100)]
    turn = 0
    async with OutboundClient(policy, resolver=resolve) as many:

        async def one_of_many() -> None:
            nonlocal turn
            turn += 1
            await many.request("POST", names[turn % 100], headers=HEADERS, body=BODY, deadline=10)

        await measure("wharfd, 100 destinations in turn", one_of_many, seconds)
    async with OutboundClient(policy, limits=Limits(max_idle=0)) as fresh:
        await measure(
            "wharfd, a new connection for each",
            lambda: fresh.request("POST", url, headers=HEADERS, body=BODY, deadline=10),
            seconds,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve)
    else:
        print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
        with receiver(__file__, "--serve") as port:
            trio.run(main, options.seconds, port)
