"""Running PostgreSQL's own programs: their output packed into a place, or read as rows."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import trio

from wharfd import Binaries, Confinement, WharfdError
from wharfd.contracts.database import DatabaseServer

from .preloading import tls_environment

T = TypeVar("T")
_LAST_WORDS = 2000


class ProgramFailed(WharfdError):
    """A program of PostgreSQL failed."""


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs, run as who we are (clients) or as whom a server must run."""

    binaries: Binaries
    confinement: Confinement

    @property
    def version(self) -> tuple[int, int]:
        """Their version, as (18, 6)."""
        return self.binaries.version

    def environment(self, dsn: str = "") -> tuple[str, dict[str, str]]:
        """Return the DSN without its password, and the environment that carries it instead.

        A command line is for everybody to see.
        """
        env = dict(self.confinement.options()["env"])
        bare, password = without_password(dsn)
        if password is not None:
            env["PGPASSWORD"] = password
        env["PGAPPNAME"] = "wharfd-backups"
        env |= tls_environment(bare, self.binaries.program("pg_dump"), self.version[0])
        return bare, env

    async def call(self, name: str, *arguments: str, dsn: str = "") -> str:
        """Run a client program and return what it prints; raises `ProgramFailed` with its last words."""
        _, env = self.environment(dsn)
        done = await trio.run_process(
            [str(self.binaries.program(name)), *arguments],
            check=False,
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
            env=env,
        )
        if done.returncode != 0:
            raise ProgramFailed(f"{name} failed ({done.returncode}): {_words(done.stderr)}")
        return done.stdout.decode(errors="replace")

    async def rows(self, dsn: str, statement: str) -> list[list[str]]:
        """Run SQL in one transaction and return the rows of its last statement, as text."""
        bare, _ = self.environment(dsn)
        options = ["-X", "-q", "--csv", "-t", "-w", "-v", "ON_ERROR_STOP=1"]
        text = await self.call("psql", *options, "-d", bare, "-c", statement, dsn=dsn)
        return list(csv.reader(io.StringIO(text)))

    async def value(self, dsn: str, statement: str) -> str:
        """Return the only value of the only row."""
        return (await self.rows(dsn, statement))[0][0]

    @asynccontextmanager
    async def conversation(self, dsn: str, *options: str) -> AsyncIterator[trio.abc.Stream]:
        """Have a psql for the length of the block: it runs what it is sent, and answers or complains."""
        bare, env = self.environment(dsn)
        command = [str(self.binaries.program("psql")), "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1"]
        psql = await trio.lowlevel.open_process(
            [*command, *options, "-d", bare],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
        )
        assert psql.stdio is not None
        try:
            yield psql.stdio
        finally:
            psql.kill()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(psql.stdio)
                await psql.wait()

    async def confined(self, name: str, *arguments: str, cwd: Path | None = None) -> str:
        """Run a program that refuses root, as the server is run."""
        done = await trio.run_process(
            self.confinement.command(self.binaries.program(name), *arguments),
            check=False,
            capture_stdout=True,
            capture_stderr=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            **self.confinement.options(),
        )
        if done.returncode != 0:
            raise ProgramFailed(f"{name} failed ({done.returncode}): {_words(done.stderr or done.stdout)}")
        return done.stdout.decode(errors="replace")

    async def stream(
        self, name: str, arguments: Sequence[str], take: Callable[[Any], T], *, dsn: str, nice: int = 10
    ) -> T:
        """Run a client program at low priority while `take(stdout)` reads it in a thread.

        `take` gets the pipe and a function that waits for the end and raises `ProgramFailed`: it must call
        it before it believes what it read, because a program that dies closes its pipe like one that is done.
        """
        bare, env = self.environment(dsn)
        command = ["nice", "-n", str(nice), str(self.binaries.program(name)), *arguments]
        if dsn:
            command += ["-d", bare]
        with subprocess.Popen(  # noqa: ASYNC220 - read in a thread, which wants a plain pipe
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        ) as process:
            return await _while_running(process, lambda: take(Output(name, process)))


class Output:
    """What a running program prints."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._name, self._process = name, process
        self.read = process.stdout.read

    def finish(self) -> None:
        """Wait for its end; raises `ProgramFailed` with its last words unless it ended well."""
        assert self._process.stderr is not None
        words = self._process.stderr.read()
        if (code := self._process.wait()) != 0:
            raise ProgramFailed(f"{self._name} failed ({code}): {_words(words)}")


async def _while_running(process: subprocess.Popen[bytes], work: Callable[[], T]) -> T:
    """Run `work` in a thread; a cancellation kills the program, which ends the thread's reading."""
    result: list[T] = []
    failure: list[Exception] = []

    def guarded() -> None:
        try:
            result.append(work())
        except Exception as error:
            failure.append(error)

    async def kill_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if process.poll() is None:
                process.kill()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill_at_the_end)
        await trio.to_thread.run_sync(guarded)
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if failure:
        raise failure[0]
    return result[0]


def without_password(dsn: str) -> tuple[str, str | None]:
    """Split a PostgreSQL URL into one without a password, and the password."""
    parts = urlsplit(dsn)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    if not colon:
        return dsn, None
    return urlunsplit(parts._replace(netloc=f"{name}{at}{host}")), unquote(password)


def _words(raw: bytes) -> str:
    lines = [line for line in raw.decode(errors="replace").splitlines() if line.strip()]
    return " · ".join(lines[-4:])[-_LAST_WORDS:] or "it said nothing"


async def programs_of(server: DatabaseServer) -> Programs:
    """Return the programs that fit the server."""
    return Programs(*await server.programs())
