"""procrastinate for `bench/work_peers.py`: install | fill N | work. Runs in an environment of its own."""

import asyncio
import sys

import procrastinate

url, command = sys.argv[1:3]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))


@app.task(name="nothing", queue="bench")
async def nothing(owner, payload):
    pass


async def main():
    async with app.open_async():
        if command == "install":
            await app.schema_manager.apply_schema_async()
        elif command == "fill":
            count = int(sys.argv[3])
            for start in range(0, count, 1000):
                await nothing.batch_defer_async(
                    *[{"owner": f"owner_{n % 100}", "payload": "x" * 200} for n in range(start, start + 1000)]
                )
        else:
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            # As many at once as our single-row handlers; no listening, no waiting: the table is full.
            await app.run_worker_async(
                queues=["bench"],
                concurrency=16,
                wait=False,
                listen_notify=False,
                install_signal_handlers=False,
                delete_jobs="never",
            )


asyncio.run(main())
