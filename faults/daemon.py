"""Real `wharfd` processes: started, killed, stopped and continued, as systemd or the kernel would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from .http import call

HERE = Path(__file__).parent
READY_SECONDS = 60.0


def free_port() -> int:
    """Return a loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """One daemon: its files, its ports, and the process that runs on them now."""

    def __init__(
        self, folder: Path, config: str, *, environ: Mapping[str, str] | None = None, activated: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "log"
        self.config = folder / "wharfd.toml"
        self.environ = dict(environ or {})
        self.sockets: list[socket.socket] = []
        if activated:
            # As systemd does: the sockets outlive the process, their queue is served by the next one.
            self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
            self.api, self.ingest = (one.getsockname()[1] for one in self.sockets)
        else:
            self.api, self.ingest = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.write_config(config)

    def write_config(self, config: str) -> None:
        """Replace the configuration file; the running process reads it on SIGHUP or at its next start."""
        binds = f'[http]\nbind = "127.0.0.1:{self.api}"\n[ingest]\nbind = "127.0.0.1:{self.ingest}"\n'
        # Options of [ingest] come first in `config`, as they continue that table.
        self.config.write_text(binds + config, encoding="utf-8")

    def launch(self, *, wrapper: Sequence[str] = (), **popen: object) -> None:
        """Start the process and return at once."""
        command = [
            "-m",
            "wharfd",
            "run",
            "--config",
            str(self.config),
            "--state-dir",
            str(self.state),
        ]
        descriptors = [one.fileno() for one in self.sockets]
        if descriptors:
            command = [str(HERE / "activate.py"), *map(str, descriptors), *command]
        path = os.pathsep.join([str(HERE / "installed"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        # As installed: modules are compiled once, not anew at each of hundreds of starts.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**inherited, "PYTHONPATH": path, **self.environ},
                pass_fds=descriptors,
                **popen,  # type: ignore[call-overload]
            )

    async def start(self, **how: object) -> float:
        """Start the process, wait until it is ready, and return how long that took."""
        started = trio.current_time()
        self.launch(**how)  # type: ignore[arg-type]
        await self.wait_ready()
        return trio.current_time() - started

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until `/health/ready` says so; raises with the log's end when the process ends first."""
        with trio.move_on_after(seconds):
            while True:
                if self.process is None or self.process.poll() is not None:
                    raise RuntimeError(f"the daemon ended:\n{self.tail()}")
                try:
                    with trio.fail_after(5):
                        if (await call(self.api, "GET", "/health/ready")).status == 200:
                            return
                except (OSError, trio.BrokenResourceError, trio.TooSlowError, EOFError):
                    pass
                await trio.sleep(0.01)
        raise RuntimeError(f"the daemon was not ready within {seconds:g} s:\n{self.tail()}")

    @property
    def pid(self) -> int:
        """The process now."""
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    def signal(self, which: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(which)

    async def wait(self, seconds: float = 60.0) -> int:
        """Wait for the process to end and return how it ended."""
        assert self.process is not None
        return await trio.to_thread.run_sync(self.process.wait, seconds)

    async def kill(self) -> None:
        """End the process as a crash does: SIGKILL, nothing is told to it."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> int:
        """End the process in order and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Call the API as admin."""
        token = (self.state / "admin.token").read_text().strip()
        answer = await call(self.api, method, path, body, ("Authorization", f"Bearer {token}"))
        return answer.status, answer.body

    def memory(self) -> int:
        """The resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not tell the daemon's memory")

    def descriptors(self) -> int:
        """How many files the process has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """End the process whatever it does, and let the sockets go."""
        if self.running:
            assert self.process is not None
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(20)
        for one in self.sockets:
            one.close()
