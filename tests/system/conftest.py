"""A real `wharfd` process, as systemd or a person would start it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Process:
    """One started daemon; `log` is what it wrote."""

    popen: subprocess.Popen
    state: Path
    api: int
    ingest: int
    output: Path
    config: Path

    @property
    def log(self) -> str:
        return self.output.read_text()

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Ask until the API answers; fails with the log when the process ends first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.popen.poll() is None, self.log
            try:
                if self.get("/health/ready")[0] == 200:
                    return
            except OSError:
                with suppress(subprocess.TimeoutExpired):
                    self.popen.wait(0.1)
        raise AssertionError(f"not ready within {seconds} s:\n{self.log}")

    def get(self, path: str, *, token: bool = False) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.api}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {(self.state / 'admin.token').read_text().strip()}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()

    def stop(self, sign: int = signal.SIGTERM) -> int:
        self.popen.send_signal(sign)
        return self.popen.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def initialised(tmp_path_factory):
    """A state folder as `wharfd init` leaves it."""
    folder = tmp_path_factory.mktemp("initialised") / "state"
    command = [sys.executable, "-m", "wharfd", "init", "--state-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def state(initialised, tmp_path):
    """A copy of that folder, so that not every test waits for a first start."""
    return copied(initialised, tmp_path / "state")


def copied(initialised, folder):
    subprocess.run(["cp", "-a", "--reflink=auto", str(initialised), str(folder)], check=True)
    return folder


@pytest.fixture
def start(tmp_path):
    """A factory: `start("[log]\\n…")` starts a daemon with that configuration, embedded PostgreSQL, own ports."""
    with starting(tmp_path) as begin:
        yield begin


@contextmanager
def starting(tmp_path):
    """Give the factory of `start`, and end in the end what it started."""
    started: list[Process] = []

    def begin(
        config: str = "", *, state: Path | None = None, environ: dict | None = None, **options
    ) -> Process:
        number = len(started)
        api, ingest = options.get("api") or free_port(), options.get("ingest") or free_port()
        path = tmp_path / f"wharfd-{number}.toml"
        path.write_text(
            f'[http]\nbind = "127.0.0.1:{api}"\n[ingest]\nbind = "127.0.0.1:{ingest}"\n{config}',
            encoding="utf-8",
        )
        output = tmp_path / f"log-{number}"
        folder = state or tmp_path / "state"
        with output.open("wb") as stream:
            popen = subprocess.Popen(
                [sys.executable, "-m", "wharfd", "run", "--config", str(path), "--state-dir", str(folder)],
                stdout=stream,
                stderr=stream,
                env={**os.environ, **(environ or {})},
            )
        process = Process(popen, folder, api, ingest, output, path)
        started.append(process)
        return process

    try:
        yield begin
    finally:
        _end(started)


def _end(started):
    for process in started:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGTERM)
            try:
                process.popen.wait(20)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
