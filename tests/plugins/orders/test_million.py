"""A million lines with one that is broken near the end. Takes a minute or two: `make faults`."""

from __future__ import annotations

import msgspec
import pytest
import trio

from wharfd import Client
from wharfd.cli.client import ClientError
from wharfd.db import sql

LINES = 1_000_000
BROKEN = 999_999  # counted from 1, as people do
ROWS = sql("test.rows", "SELECT count(*) FROM orders.items")


def million():
    line = (
        '{"clientRef":"M-%d","currency":"EUR",'
        '"cartItems":[{"productId":"F","transactionType":"buy","amount":1}]}\n'
    )
    parts = [line % n for n in range(1, LINES + 1)]
    parts[BROKEN - 1] = '{"clientRef":"M-999999","currency":"EUR","cartItems":[{"prod\n'
    return "".join(parts).encode()


@pytest.mark.faults
async def test_line_999_999_of_a_million_is_malformed(orders, kit, tmp_path):
    file = tmp_path / "million.jsonl"
    file.write_bytes(million())
    client = Client(orders.d.api, orders.d.token)

    def upload(query):
        headers = kit.NDJSON | {"Content-Length": str(file.stat().st_size)}
        with file.open("rb") as body:
            answer = client.call("POST", f"/api/bulk-orders{query}", body, headers=headers, timeout=600)
        return answer.json()

    with pytest.raises(ClientError, match=r"1 of 1000000 rows .* row 999999.* nothing was stored") as caught:
        await trio.to_thread.run_sync(upload, "")
    (error,) = caught.value.problem["rowErrors"]
    assert (error["index"], error["row"], error["code"]) == (BROKEN - 1, BROKEN, "malformed")
    assert await orders.d.db.fetchval(ROWS) == 0
    view = await trio.to_thread.run_sync(upload, "?onInvalid=skip_rows&paused=true")
    assert (view["total"], view["skipped"], view["pending"]) == (LINES, 1, LINES - 1)
    assert view["rowErrors"][0]["row"] == BROKEN
    failed = await orders.d.get(f"/api/bulk-orders/{view['batchId']}/results?which=failed")
    (row,) = map(msgspec.json.decode, failed.body.splitlines())
    assert (row["_row"], row["_code"]) == (BROKEN, "malformed")
    assert row["_line"].startswith('{"clientRef":"M-999999"')
