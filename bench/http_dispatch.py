"""What the API server adds to a request, beside a bare Quart-trio route: both called without a socket.

    python bench/http_dispatch.py

CPU time, best of several rounds, in turns, so that a busy machine hurts both alike.
"""

from __future__ import annotations

import logging
import platform
import time

import msgspec
import structlog
import trio
from quart import Response
from quart_trio import QuartTrio

from wharfd.declare import Route
from wharfd.testing.api import serve_routes

ROUNDS, REQUESTS = 9, 300


class Thing(msgspec.Struct):
    id: str
    size: int = 1


async def show(ctx, request):
    return Thing(request.path["id"])


def bare_quart():
    app = QuartTrio("bare")

    @app.get("/api/v1/things/<id>")
    async def show_bare(id):
        return Response(msgspec.json.encode(Thing(id)), content_type="application/json")

    return app


def scope_of(token):
    fields = {"host": "x", "user-agent": "bench", "accept": "*/*", "authorization": f"Bearer {token}"}
    return {
        "type": "http", "http_version": "1.1", "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": "GET", "scheme": "http", "path": "/api/v1/things/5", "raw_path": b"/api/v1/things/5",
        "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "state": {}, "extensions": {},
    }  # fmt: skip


async def ask(app, scope):
    asked = False

    async def receive():
        nonlocal asked
        if asked:
            await trio.sleep_forever()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        return

    await app(scope, receive, send)


async def main():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    route = Route(method="GET", path="/api/v1/things/{id}", handler=show, scope="things:read")
    best = {}
    async with serve_routes([route]) as api:
        scope = scope_of(api.admin_token)
        for turn in range(ROUNDS + 1):
            for name, app in (
                ("bare Quart-trio route", bare_quart()),
                ("wharfd, everything on", api.server.app),
            ):
                started = time.process_time()
                for _ in range(REQUESTS):
                    await ask(app, scope)
                spent = (time.process_time() - started) / REQUESTS * 1e6
                if turn:  # the first round warms up
                    best[name] = min(best.get(name, spent), spent)
    print(f"{platform.machine()}, Python {platform.python_version()}")
    for name, spent in best.items():
        print(f"{name:24} {spent:6.0f} µs of CPU per request")
    bare, ours = best.values()
    print(f"ratio {bare / ours:.1f}")


if __name__ == "__main__":
    trio.run(main)
