"""As little HTTP as the matrix needs: one request, one answer, on a connection that may be kept."""

from __future__ import annotations

from dataclasses import dataclass

import trio


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the connection ends here."""
        return self.headers.get("connection", "").lower() == "close"


async def exchange(stream: trio.SocketStream, request: bytes) -> Answer:
    """Send a request and read its answer. Raises `EOFError` if the peer closes before the answer is whole."""
    await stream.send_all(request)
    return await read_answer(stream)


async def read_answer(stream: trio.SocketStream) -> Answer:
    """Read one answer with a Content-Length."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += await _more(stream)
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    body = data[end + 4 :]
    while len(body) < length:
        body += await _more(stream)
    return Answer(int(first.split()[1]), headers, body)


async def _more(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some(65536)
    if not data:
        raise EOFError("the connection was closed before the answer was whole")
    return bytes(data)


async def call(port: int, method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> Answer:
    """Make one request to a loopback port on a connection of its own."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return await exchange(stream, head.encode() + body)
