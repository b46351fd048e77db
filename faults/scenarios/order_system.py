"""kill -9 of the daemon while it sends orders to another system, which counts what it was asked to do."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import trio

from ..http import call
from ..stage import Scenario, Stage
from .bulk_orders import lines

CONFIG = """[plugins.orders]
executor = "http"
lease = "2s"
attempts = 1000
[plugins.orders.http]
url = "http://127.0.0.1:{port}/orders"
find_url = "http://127.0.0.1:{port}/orders/{{key}}"
secret = "a secret for faults"
allow_networks = ["127.0.0.0/8"]
timeout = "3s"
breaker_failures = 1
breaker_pause = "100ms"
missing_after = "100ms"
"""


class OrderSystem:
    """Carries out every order it is sent, each time it is sent, and does not look at Idempotency-Key.

    It answers late, and now and again not at all although it has carried the order out.
    """

    def __init__(self, stage: Stage) -> None:
        self.random = stage.random
        self.carried_out: Counter[str] = Counter()
        self.asked = 0
        self.silent = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection."""
        data = b""
        try:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    part = await stream.receive_some(65536)
                    if not part:
                        return
                    data += part
                first, *rest = data[:end].decode("latin-1").split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in rest)}
                data = data[end + 4 :]
                length = int(headers.get("content-length", "0"))
                while len(data) < length:
                    part = await stream.receive_some(65536)
                    if not part:
                        return  # half an order is no order
                    data += part
                data = data[length:]
                method, key = first.split()[0], headers["idempotency-key"]
                if method == "POST":
                    self.carried_out[key] += 1
                    await trio.sleep(self.random.uniform(0.002, 0.03))
                    if self.random.random() < 0.02:
                        self.silent += 1
                        return
                else:
                    self.asked += 1
                await self._answer(stream, self.carried_out[key] > 0, key)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # its other end was killed, which is the point
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream, known: bool, key: str) -> None:
        body = json.dumps({"id": f"E-{key}", "status": "completed"} if known else {"error": "no such order"})
        status = "200 OK" if known else "404 Not Found"
        await stream.send_all(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


async def run(stage: Stage) -> None:
    """Send a batch, kill the daemon while calls are under way, and compare with the other system's books."""
    count = int(stage.scale(400, 4000))
    system = OrderSystem(stage)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, system.serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        daemon = await stage.started(more=CONFIG.format(port=port))
        token = (daemon.state / "admin.token").read_text().strip()
        answer = await call(
            daemon.api,
            "POST",
            "/api/bulk-orders",
            lines(count),
            ("Authorization", f"Bearer {token}"),
            ("Content-Type", "application/x-ndjson"),
        )
        stage.expect(answer.status == 201, f"the batch was answered {answer.status}")
        batch = json.loads(answer.body)["batchId"]
        kills = inside = 0
        for _ in stage.times(2, 30, seconds=200):
            before = len(system.carried_out)
            with trio.move_on_after(30):
                while len(system.carried_out) < min(count, before + stage.random.randint(5, 80)):
                    await trio.sleep(0.002)
            await daemon.kill()
            kills += 1
            inside += len(system.carried_out) < count
            await daemon.start()
        status = {}
        with trio.move_on_after(150):
            while not status.get("completedAt"):
                await trio.sleep(0.1)
                status = json.loads((await daemon.ask("GET", f"/api/bulk-orders/{batch}/progress"))[1])
        stage.expect(
            (status.get("status"), status.get("succeeded")) == ("completed", count), f"it ended {status}"
        )
        twice = [key for key, times in system.carried_out.items() if times > 1]
        stage.expect(not twice, f"{len(twice)} orders were carried out more than once: {twice[:3]}")
        stage.expect(
            len(system.carried_out) == count, f"{len(system.carried_out)} of {count} orders were carried out"
        )
        rows = await stage.server.query(
            stage.database,
            "SELECT count(*) FROM orders.orders WHERE external_id = 'E-house:' || client_ref",
        )
        stage.expect(rows[0] == [str(count)], f"{rows[0]} of {count} orders have the id of the other system")
        stage.note(
            f"{kills} kills, {inside} of them inside the batch of {count}; {system.silent} answers left out; "
            f"{system.asked} orders were asked for, none was carried out twice"
        )
        nursery.cancel_scope.cancel()


SCENARIO = Scenario(
    "kill-order-system",
    "kill -9 of the daemon while it calls an order system that knows no idempotency key.",
    run,
    short=True,
)
