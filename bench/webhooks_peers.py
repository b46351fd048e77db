"""Sustained deliveries per second: wharfd, which keeps every attempt, beside loops that keep nothing.

    python bench/webhooks_peers.py                              # 3 rounds of 4,000 deliveries each
    python bench/webhooks_peers.py --rounds 5 --deliveries 20000

All sign as Standard Webhooks and post the same JSON to the same receiver, a process of its own on the same
machine. wharfd has the events in PostgreSQL (fsync on) beforehand; before each send an attempt is committed,
and after it its result. The peers are loops over httpx and over Node's fetch, 64 at a time, which store
nothing and forget everything when they die. Rounds are interleaved; ratios are taken within a round. What
is not installed is left out and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import trio
import webhooks
from rig import durable_postgres, receiver

HERE = Path(__file__).parent
CONCURRENCY = 64


def install_httpx(folder: Path) -> Path | None:
    """Make an environment with httpx and return its Python, None where that cannot be."""
    venv = folder / "httpx"
    maker = shutil.which("uv")
    try:
        if maker:
            subprocess.run([maker, "venv", "-q", str(venv)], check=True)
            command = [maker, "pip", "install", "-q", "--python", str(venv / "bin" / "python"), "httpx"]
        else:
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            command = [str(venv / "bin" / "pip"), "install", "-q", "httpx"]
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"httpx is left out: {error}")
        return None
    return venv / "bin" / "python"


def noted(port: int, wanted: int) -> tuple[float, int]:
    """Return the seconds from the first to the last arrival, and how many there were."""
    spans: list[list[float]] = []
    count = 0
    until = time.monotonic() + 60
    while count < wanted and time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            found = json.loads(answer.read())
        count += len(found["ages"])
        if found["ages"]:
            spans.append(found["span"])
        time.sleep(0.05)
    return max(s[1] for s in spans) - min(s[0] for s in spans), count


def run_peer(command: list[str], port: int, count: int) -> tuple[float, float]:
    """Run a loop; return deliveries per second and its processor seconds per 1,000."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, arrived = noted(port, count)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return arrived / seconds, 1000 * cpu / arrived


async def run_wharfd(publish: Any, ctx: Any, port: int, count: int) -> tuple[float, float]:
    """Fill the queue, let it go, and return the same."""
    await ctx.work.pause("deliveries", actor="bench")
    for start in range(0, count, 500):
        await publish(range(start, min(start + 500, count)))
    with trio.fail_after(120):
        while (await ctx.work.statistics("fan_out")).ready:  # noqa: ASYNC110  the database changes it
            await trio.sleep(0.1)
    used = os.times()
    await ctx.work.resume("deliveries", actor="bench")
    seconds, arrived = await trio.to_thread.run_sync(noted, port, count)
    spent = os.times()
    return arrived / seconds, 1000 * (spent.user + spent.system - used.user - used.system) / arrived


async def measure(options: argparse.Namespace, port: int, cluster: Any, folder: Path) -> None:
    """Run the interleaved rounds and print the table."""
    target = f"http://HOST:{port}/0"
    numbers = [str(n) for n in (options.endpoints, options.deliveries, CONCURRENCY)]
    peers: dict[str, list[str]] = {}
    python = install_httpx(folder)
    if python is not None:
        peers["httpx loop"] = [str(python), str(HERE / "peers" / "httpx_loop.py"), target, *numbers]
    node = shutil.which("node")
    if node is not None:
        peers["Node fetch loop"] = [node, str(HERE / "peers" / "fetch_loop.mjs"), target, *numbers]
    else:
        print("the Node fetch loop is left out: node is not installed")
    rows: dict[str, list[tuple[float, float]]] = {}
    async with webhooks.daemon(cluster, folder) as running:
        ctx, shop = running.lives.contexts["webhooks"], running.lives.contexts["bench"]
        await webhooks.add_endpoints(ctx, port, options.endpoints, 0)

        async def publish(numbers: range) -> None:
            async with shop.db.transaction() as tx:
                owner = options.endpoints
                await shop.events.publish_many(
                    tx, [webhooks.Tick(at=time.time(), number=n, owner=f"o{n % owner}") for n in numbers]
                )

        await publish(range(200))
        await trio.to_thread.run_sync(noted, port, 200)
        for _ in range(options.rounds):
            rows.setdefault("wharfd", []).append(await run_wharfd(publish, ctx, port, options.deliveries))
            for name, command in peers.items():
                rows.setdefault(name, []).append(
                    await trio.to_thread.run_sync(run_peer, command, port, options.deliveries)
                )
    print(
        f"{options.deliveries} deliveries a round to {options.endpoints} endpoints, {options.rounds} rounds"
    )
    print(f"{'':<18}{'deliveries/s':>14}{'lowest':>9}{'highest':>9}{'CPU s per 1,000':>17}{'wharfd is':>11}")
    for name, found in rows.items():
        rates = [rate for rate, _ in found]
        ratio = statistics.median(ours[0] / rate for ours, rate in zip(rows["wharfd"], rates, strict=True))
        cpu = statistics.median(cpu for _, cpu in found)
        print(
            f"{name:<18}{statistics.median(rates):>14,.0f}{min(rates):>9,.0f}{max(rates):>9,.0f}"
            f"{cpu:>17.2f}{ratio:>10.2f}×"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deliveries", type=int, default=4000)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        receiver(str(HERE / "webhooks.py"), "receiver") as port,
        durable_postgres() as cluster,
        tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder,
    ):
        trio.run(measure, options, port, cluster, Path(folder))


if __name__ == "__main__":
    main()
