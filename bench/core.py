"""How fast a daemon is ready, and what it costs while it has nothing to do: measured on real processes.

    python bench/core.py [--rounds 5] [--idle 20]

Ready means that `/health/ready` answers 200 and, by systemd's protocol, that READY=1 was sent: the latter
is measured. Wall-clock times depend on what else the machine does; the CPU time of the process until then
stands beside them and does not. Idle is measured with the embedded server as a child, whose own cost is not
counted: it is PostgreSQL's.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import work_engine
from rig import cpu_seconds, free_port, memory_mib

READY_SECONDS = 60.0


def installed_environment() -> dict[str, str]:
    """The environment of an installed program: its modules are compiled once, not anew at every start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Started:
    """A daemon from its start to READY=1, with what that took."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = folder / "notify"
        address.unlink(missing_ok=True)
        self._link.bind(str(address))
        self._link.settimeout(READY_SECONDS)
        began = time.monotonic()
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wharfd", "run", "--config", str(config)]
                + ["--state-dir", str(folder / "state")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**installed_environment(), "NOTIFY_SOCKET": str(address)},
            )
        while b"READY=1" not in self._link.recv(4096):
            pass
        self.seconds = time.monotonic() - began
        self.cpu = cpu_seconds(self.process.pid)

    def stop(self) -> float:
        """End it in order and return how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise RuntimeError("the daemon did not end well")
        self._link.close()
        return time.monotonic() - began


def configure(folder: Path, plugins: str) -> Path:
    path = folder / "wharfd.toml"
    binds = f'[http]\nbind = "127.0.0.1:{free_port()}"\n[ingest]\nbind = "127.0.0.1:{free_port()}"\n'
    path.write_text(binds + plugins, encoding="utf-8")
    return path


def idle(started: Started, seconds: float) -> tuple[float, float]:
    """Return the share of one CPU, in percent, and the memory of a daemon that nobody asks anything."""
    time.sleep(3)  # what begins at the start is over
    before, began = cpu_seconds(started.process.pid), time.monotonic()
    time.sleep(seconds)
    used, took = cpu_seconds(started.process.pid) - before, time.monotonic() - began
    return used / took * 100, memory_mib(started.process.pid)


def spread(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):7.2f} {unit} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=20.0)
    options = parser.parse_args()
    print(work_engine.machine())
    key = "a2V5LWtleS1rZXkta2V5LQ=="
    netbanx = f'[plugins.netbanx.sources.a]\nscheme = "paysafe"\npaths = ["/a"]\nkeys = ["{key}"]\n'
    contestants = {
        "no plugins": "",
        "integrations, webhooks, netbanx": "[plugins.integrations]\n[plugins.webhooks]\n" + netbanx,
    }
    for name, plugins in contestants.items():
        with tempfile.TemporaryDirectory(prefix="wharfd-core-") as place:  # compiles what was never imported
            Started(Path(place), configure(Path(place), plugins)).stop()
        print(f"\n{name}")
        first, first_cpu, again, again_cpu, stops = [], [], [], [], []
        for number in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="wharfd-core-") as place:
                folder = Path(place)
                config = configure(folder, plugins)
                started = Started(folder, config)
                first.append(started.seconds)
                first_cpu.append(started.cpu)
                stops.append(started.stop())
                started = Started(folder, config)
                again.append(started.seconds)
                again_cpu.append(started.cpu)
                if number == options.rounds - 1:
                    share, memory = idle(started, options.idle)
                stops.append(started.stop())
        print(f"  first start, with initdb   {spread(first, 's')}   own CPU {spread(first_cpu, 's')}")
        print(f"  start on existing database {spread(again, 's')}   own CPU {spread(again_cpu, 's')}")
        print(f"  stop                       {spread(stops, 's')}")
        print(f"  idle                       {share:.2f} % of one CPU, {memory:.0f} MiB resident")
    print(f"\nload {os.getloadavg()[0]:.1f} afterwards")


if __name__ == "__main__":
    main()
