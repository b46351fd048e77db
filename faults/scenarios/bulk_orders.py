"""kill -9 of the daemon in the middle of a batch of orders, again and again."""

from __future__ import annotations

import json

import trio

from ..http import call
from ..stage import Scenario, Stage

CONFIG = """[plugins.orders]
lease = "2s"
attempts = 1000
ledger_batch = 200
"""


def lines(count: int) -> bytes:
    """Return orders as JSON Lines."""
    return b"".join(
        b'{"clientRef":"K-%d","account":"A-%d","currency":"EUR","cartItems":[{"productId":"F%d",'
        b'"transactionType":"purchase","amount":%d}]}\n' % (n, n % 500, n % 9, 100 + n % 900)
        for n in range(count)
    )


async def run(stage: Stage) -> None:
    """Send a batch, kill the daemon at random moments until it is through, and count what was carried out."""
    count = int(stage.scale(4000, 100_000))
    daemon = await stage.started(more=CONFIG)
    token = (daemon.state / "admin.token").read_text().strip()
    credentials = ("Authorization", f"Bearer {token}")
    answer = await call(
        daemon.api,
        "POST",
        f"/api/bulk-orders?maxPerSecond={int(stage.scale(2000, 1000))}",
        lines(count),
        credentials,
        ("Content-Type", "application/x-ndjson"),
    )
    stage.expect(answer.status == 201, f"the batch was answered {answer.status}")
    batch = json.loads(answer.body)["batchId"]
    kills = unfinished = 0
    for _ in stage.times(4, 100, seconds=400):
        await trio.sleep(stage.random.uniform(0.05, 0.5))
        unfinished += await _state(stage, "SELECT count(*) FROM orders.items WHERE state <> 'done'") > 0
        await daemon.kill()
        kills += 1
        await daemon.start()
    status = {}
    with trio.move_on_after(180):
        while not status.get("completedAt"):
            await trio.sleep(0.1)
            status = json.loads((await daemon.ask("GET", f"/api/bulk-orders/{batch}/progress"))[1])
    stage.expect(status.get("status") == "completed", f"the batch ended {status}")
    rows = await stage.server.query(
        stage.database, "SELECT count(*), count(DISTINCT idx), sum(amount) FROM orders.orders"
    )
    wanted = [str(count), str(count), str(sum(100 + n % 900 for n in range(count)))]
    stage.expect(rows[0] == wanted, f"the ledger has {rows[0]}, not {wanted}")
    told = await _state(stage, "SELECT count(*) FROM wharfd.events WHERE type = 'order.completed'")
    stage.expect(told == count, f"{told} orders were announced, not {count}")
    ends = await _state(stage, "SELECT count(*) FROM wharfd.events WHERE type = 'batch.completed'")
    stage.expect(ends == 1, f"the end of the batch was announced {ends} times")
    checked = json.loads((await daemon.ask("GET", f"/api/bulk-orders/{batch}/verify"))[1])
    stage.expect(checked["agrees"], f"the counts are not those of the rows: {checked}")
    stage.note(f"{kills} kills, {unfinished} of them inside the batch of {count}; every order exactly once")


async def _state(stage: Stage, statement: str) -> int:
    return int((await stage.server.query(stage.database, statement))[0][0])


SCENARIO = Scenario(
    "kill-bulk-orders", "kill -9 of the daemon at random moments of a batch of orders.", run, short=True
)
