"""The walks of the docs, word for word and with a watch beside them.

    python bench/walks.py [newcomer] [install] [plugin] [example]

`newcomer` goes from a checkout to the first delivered webhook (`README.md`, Start), `install` from pip to a
daemon that runs (`docs/install.md`, With pip), `plugin` from `wharfd plugin new` to a tested plugin that runs
(`docs/write-a-plugin.md`, A whole one), `example` builds `docs/examples/wharfd-loyalty` into a wheel and runs
its tests where nothing of it but the wheel is.

The lines are taken from the pages and run by a shell, each walk in a folder, a virtual environment and a
network of its own: so the ports are those of the page, and nothing is fetched. What pip would fetch is what
this Python has; the time that takes elsewhere is not in the figures. A walk that fails ends the program
with 1.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "wharfd-loyalty"
# A line that goes on until it is ended, and what it says when it is ready.
STAYS = {"make run": "wharfd serves", "wharfd run": "wharfd serves", "receiver.py": "is told of payments"}
LONGEST_SECONDS = 240


def lines_of(page: str, heading: str) -> list[str]:
    """Return the lines of the ```sh blocks under a heading, in order."""
    section = re.split(r"^## ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(heading + "\n"))
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line
    ]


class Walker:
    """A person at a shell in a folder: runs lines, leaves those running that stay, takes the time of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: list[tuple[float, str]] = []
        self.environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("WHARFD_", "VIRTUAL_"))
            },
            "PYTHONPATH": str(self._packages()),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "dist"),
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which is how pip wants to be told that there shall be none
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        self._said: list[str] = []  # assignments, which the lines after them need
        self._staying: list[tuple[subprocess.Popen[bytes], Path]] = []

    def _packages(self) -> Path:
        """Make a folder with what this Python has installed, wharfd itself left out."""
        farm = self.folder / "packages"
        farm.mkdir()
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(place).iterdir():
                if not re.match(r"_?wharfd|__editable__|__pycache__|.*\.pth$", entry.name):
                    (farm / entry.name).symlink_to(entry)
        return farm

    def make_environment(self) -> None:
        """Make a virtual environment with wharfd in it, from a wheel, and put its programs first."""
        venv = self.folder / "venv"
        self.do(f"{sys.executable} -m venv --without-pip {venv}")
        pythons = [sys.executable, shutil.which("python3") or "python3"]
        pip = next(python for python in pythons if _succeeds(python, "-m", "pip", "--version"))
        for name, command in (
            ("pip", f"{pip} -m pip --python {venv}/bin/python"),
            ("pytest", f"{venv}/bin/python -m pytest"),
        ):
            (venv / "bin" / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (venv / "bin" / name).chmod(0o755)
        self.environ["PATH"] = f"{venv / 'bin'}:{os.environ['PATH']}"
        self.build()
        self.do("pip install --quiet wharfd")

    def build(self) -> None:
        """Make a wheel of wharfd, for pip to find."""
        self.do(f"cd {ROOT} && {sys.executable} -m hatchling build -t wheel -d {self.folder / 'dist'}")

    def do(self, line: str) -> str:
        """Run a line and return what it said; a line that stays is left running when it is ready."""
        began = time.monotonic()
        words = next((words for start, words in STAYS.items() if start in line), None)
        script = "\n".join([*self._said, line])
        if re.match(r"(export )?[A-Z_]+=", line):
            self._said.append(line)
        said = self._run(script) if words is None else self._leave(script, words)
        self.seconds.append((time.monotonic() - began, line))
        return said

    def _run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.folder, env=self.environ,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"{script}\nended with {done.returncode}:\n{done.stdout}\n{self.heard()}")
        return done.stdout

    def _leave(self, script: str, words: str) -> str:
        output = self.folder / f"said-{len(self._staying)}"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self.environ, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        self._staying.append((process, output))
        return self.wait_for(lambda: words in output.read_text() and output.read_text(), script)

    def wait_for(self, condition: Callable[[], str | bool], what: str) -> str:
        """Wait until the condition holds and return what it returned."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline and all(one.poll() is None for one, _ in self._staying):
            if found := condition():
                return str(found)
            time.sleep(0.05)
        raise SystemExit(f"{what}: waited in vain\n{self.heard()}")

    def heard(self) -> str:
        """What those that stay have said."""
        return "\n".join(output.read_text() for _, output in self._staying)

    def end(self) -> None:
        """Press ctrl-c in every terminal, the last one first."""
        for process, _ in reversed(self._staying):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def newcomer(walker: Walker) -> None:
    """From a checkout to the first delivered webhook."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            target = walker.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    said = "\n".join(walker.do(line) for line in lines_of("README.md", "Start"))
    assert "PAYMENT_COMPLETED" in said, said
    walker.wait_for(lambda: "told, and the signature holds:" in walker.heard(), "the first signed delivery")
    assert "NOT SIGNED" not in walker.heard()


def install(walker: Walker) -> None:
    """From pip to a daemon that runs."""
    walker.build()
    python = walker.folder / "bin" / "python3"  # the one that can use what is installed here
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    walker.environ["PATH"] = f"{python.parent}:{os.environ['PATH']}"
    for line in lines_of("docs/install.md", "With pip"):
        walker.do(line)


def plugin(walker: Walker) -> None:
    """From `wharfd plugin new` to a tested plugin that runs."""
    walker.make_environment()
    page = (ROOT / "docs" / "write-a-plugin.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"`wharfd.toml`:\n\n```toml\n(.*?)```", page, re.DOTALL)
    (walker.folder / "wharfd.toml").write_text(config)
    before = len(walker.seconds)
    said = [walker.do(line) for line in lines_of("docs/write-a-plugin.md", "A whole one")]
    everything = "\n".join(said)
    for words in (
        " passed", '"message":"noted"', '"text":"hello"', "loyalty.notes", "loyalty.report",
        "wharfd_loyalty_notes_total 1.0", "notes_waiting", "<h2>Notes</h2>",
    ):  # fmt: skip
        assert words in everything, f"nothing said {words!r}:\n{everything}"
    walker.seconds.insert(
        0, (sum(took for took, _ in walker.seconds[before:]), "all lines of the page together")
    )


def example(walker: Walker) -> None:
    """The package of the docs, from a wheel, tested where its source is not."""
    walker.make_environment()
    shutil.copytree(EXAMPLE, walker.folder / "source")
    walker.do("pip wheel --quiet -w wheels ./source")
    (walker.folder / "elsewhere").mkdir()
    shutil.move(walker.folder / "source" / "tests", walker.folder / "elsewhere" / "tests")
    shutil.copy(EXAMPLE / "pyproject.toml", walker.folder / "elsewhere")
    shutil.rmtree(walker.folder / "source")
    walker.do("pip install --quiet wheels/wharfd_loyalty-*.whl")
    said = walker.do("cd elsewhere && pytest")
    assert re.search(r"^=* ?\d\d passed in ", said, re.MULTILINE), said
    walker.do("printf '[plugins.loyalty]\\n' > wharfd.toml && wharfd check --strict --config wharfd.toml")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


WALKS = {"newcomer": newcomer, "install": install, "plugin": plugin, "example": example}


@contextmanager
def _walker() -> Iterator[Walker]:
    # Short, because a path to a Unix socket must be.
    with tempfile.TemporaryDirectory(prefix="ww-", ignore_cleanup_errors=True) as folder:
        walker = Walker(Path(folder))
        try:
            yield walker
        finally:
            walker.end()


def _in_a_network_of_its_own() -> int:
    """Run this program again where there is nothing but a loopback of its own."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    return subprocess.run(
        [*unshare, sys.executable, __file__, "--here", *sys.argv[1:]], check=False
    ).returncode


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def main() -> int:
    """Walk, and print what each line took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("walk", nargs="*", choices=[[], *WALKS], default=[], help="all of them if none")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.here:
        return _in_a_network_of_its_own()
    _raise_loopback()
    for name in given.walk or WALKS:
        with _walker() as walker:
            WALKS[name](walker)
            print(f"\n{name}: {WALKS[name].__doc__}")
            for took, line in walker.seconds:
                print(f"{took:8.1f} s  {line.replace(str(walker.folder), '…').replace(str(ROOT), '…')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
