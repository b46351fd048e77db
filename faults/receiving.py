"""A customer's side: receivers of webhooks that note what came, check its signature, and behave as told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter, defaultdict
from random import Random

import trio


class Receivers:
    """Receivers on one port, told apart by path: `/fast`, `/slow`, `/flaky`, `/hole`, and more like them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.port = 0
        self.secrets: dict[str, str] = {}
        self.taken: dict[str, Counter[str]] = defaultdict(Counter)  # path → webhook-id → answered 2xx
        self.names: dict[str, set[str]] = defaultdict(set)  # payment → webhook-ids it came under
        self.forged = 0
        self.requests = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, [listener])
            task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                while await self._one(stream):
                    pass
        except (OSError, trio.BrokenResourceError, EOFError):
            return  # the sender was killed

    async def _one(self, stream: trio.SocketStream) -> bool:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = await stream.receive_some(65536)
            if not more:
                return False
            data += more
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        body = data[end + 4 :]
        while len(body) < int(headers["content-length"]):
            more = await stream.receive_some(65536)
            if not more:
                return False
            body += more
        path = first.split()[1].strip("/")
        self.requests += 1
        self.forged += not self._genuine(path, headers, body)
        self.names[json.loads(body)["data"]["external_id"]].add(headers["webhook-id"])
        if path == "hole":
            await trio.sleep_forever()
        if path.startswith("slow"):
            await trio.sleep(self._random.uniform(0.02, 0.15))
        if path == "flaky" and self._random.random() < 0.2:
            await stream.send_all(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
            return True
        # Counted before the answer: a sender that dies now has made the receiver take it.
        self.taken[path][headers["webhook-id"]] += 1
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return True

    def _genuine(self, path: str, headers: dict[str, str], body: bytes) -> bool:
        key = base64.b64decode(self.secrets[path].removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 60
        return fresh and hmac.compare_digest(expected, headers["webhook-signature"])
