"""pgqueuer for `bench/work_peers.py`: install | fill N | work. Runs in a virtual environment of its own."""

import asyncio
import sys
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

url, command = sys.argv[1:3]


async def main():
    async with asyncpg.create_pool(url, min_size=4, max_size=20) as pool:
        driver = AsyncpgPoolDriver(pool)
        if command == "install":
            await Queries(driver).install()
        elif command == "fill":
            count = int(sys.argv[3])
            for _ in range(0, count, 1000):
                await Queries(driver).enqueue(["nothing"] * 1000, [b"x" * 200] * 1000, [0] * 1000)
        else:
            queue = PgQueuer(driver)

            @queue.entrypoint("nothing")
            async def nothing(job: Job) -> None:
                pass

            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await queue.qm.run(
                batch_size=100, dequeue_timeout=timedelta(seconds=1), mode=QueueExecutionMode.drain
            )


uvloop.run(main())
