"""The limit of this language on this machine: trio sockets, httptools, HMAC, one grouped insert. No product.

It verifies, dedups and commits, and does nothing else: no limits, no timeouts, no spool, no second index.
"""

import base64
import hashlib
import hmac
import os
import sys

import httptools
import msgspec
import trio

from wharfd.db import DatabaseSettings, open_bridge, open_database, sql

SECRET = base64.b64decode(os.environ["BENCH_KEY"])
INSERT = sql(
    "bare.insert",
    """INSERT INTO hooks (identity, name, body)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[]) AS g (a, b, c) ORDER BY a
ON CONFLICT DO NOTHING RETURNING identity""",
)
decode = msgspec.json.Decoder().decode
waiting = []
something = trio.Event()


class Protocol:
    def __init__(self):
        self.body = []
        self.signature = b""
        self.complete = False

    def on_message_begin(self):
        self.__init__()

    def on_header(self, name, value):
        if name.lower() == b"signature":
            self.signature = value

    def on_body(self, data):
        self.body.append(data)

    def on_message_complete(self):
        self.complete = True


async def serve(stream):
    global something
    protocol = Protocol()
    parser = httptools.HttpRequestParser(protocol)
    async with stream:
        while data := await stream.receive_some(65536):
            parser.feed_data(data)
            if not protocol.complete:
                continue
            protocol.complete = False
            body = b"".join(protocol.body)
            expected = base64.b64encode(hmac.digest(SECRET, body, "sha256"))
            if not hmac.compare_digest(expected, protocol.signature):
                await stream.send_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
                continue
            event = decode(body)
            text = f"{event['eventName']}|{event['resourceId']}|{event['payload']['statusTime']}"
            done = trio.Event()
            waiting.append((hashlib.sha256(text.encode()).digest(), event["eventName"], body, done))
            something.set()
            await done.wait()
            await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"success":true}')


async def commit(database):
    global something, waiting
    while True:
        await something.wait()
        something = trio.Event()
        while waiting:
            group, waiting = waiting[:500], waiting[500:]
            async with database.transaction() as tx:
                await tx.fetch(INSERT, [g[0] for g in group], [g[1] for g in group], [g[2] for g in group])
            for *_, done in group:
                done.set()


async def main():
    settings = DatabaseSettings(url=os.environ["BENCH_DSN"])
    async with (
        open_bridge() as bridge,
        open_database(bridge, settings) as database,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(commit, database)
        listeners = await nursery.start(trio.serve_tcp, serve, int(sys.argv[1]))
        print("ready", len(listeners), flush=True)


trio.run(main)
