"""The usual way in Python: FastAPI on uvicorn, asyncpg, one insert and one commit per request."""

import base64
import hashlib
import hmac
import json
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

SECRET = base64.b64decode(os.environ["BENCH_KEY"])
pool = None


@asynccontextmanager
async def lifespan(app):
    global pool
    async with asyncpg.create_pool(os.environ["BENCH_DSN"], min_size=20, max_size=20) as pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/{path:path}")
async def webhook(request: Request, path: str):
    body = await request.body()
    expected = base64.b64encode(hmac.digest(SECRET, body, "sha256")).decode()
    if not hmac.compare_digest(expected, request.headers.get("signature", "")):
        return Response('{"success":false}', 401)
    event = json.loads(body)
    identity = hashlib.sha256(
        f"{event['eventName']}|{event['resourceId']}|{event['payload']['statusTime']}".encode()
    ).digest()
    found = await pool.fetchval(
        "INSERT INTO hooks (identity, name, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id",
        identity,
        event["eventName"],
        body,
    )
    return {"success": True, "webhookId": found, "duplicate": found is None}
