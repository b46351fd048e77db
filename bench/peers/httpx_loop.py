"""What one writes in an afternoon: sign and post webhooks with httpx, so many at a time, and keep nothing.

python httpx_loop.py BASE ENDPOINTS COUNT CONCURRENCY
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time

import httpx

KEY = b"a key that only the bench knows!"


async def main(base: str, endpoints: int, count: int, concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    numbers = iter(range(count))

    async with httpx.AsyncClient(limits=limits, timeout=15) as client:

        async def work() -> None:
            for n in numbers:
                now = time.time()
                data = {"type": "bench.tick", "at": now, "number": n, "owner": f"o{n % endpoints}"}
                body = json.dumps({"id": f"evt_{n}", "type": "bench.tick", "timestamp": now, "data": data})
                signed = f"evt_{n}.{int(now)}.{body}".encode()
                mac = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
                headers = {
                    "content-type": "application/json",
                    "webhook-id": f"evt_{n}",
                    "webhook-timestamp": str(int(now)),
                    "webhook-signature": f"v1,{mac}",
                }
                url = base.replace("HOST", f"127.0.1.{1 + n % endpoints}")
                answer = await client.post(url, content=body, headers=headers)
                answer.raise_for_status()

        await asyncio.gather(*(work() for _ in range(concurrency)))


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
