"""The stage a scenario plays on: a database of its own, daemons, load, the ledger, and what was observed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from . import checker
from .daemon import Daemon
from .ledger import Ledger
from .load import Load
from .postgres import Server
from .workload import Workload


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix. `short` ones run inside the test suite too; `run` plays it.

    `workloads` are those it is played with when all are; `needs` says what is missing here, if anything.
    """

    name: str
    what: str
    run: Callable[[Stage], Awaitable[None]]
    short: bool = False
    workloads: tuple[str, ...] = ("proof",)
    needs: Callable[[], str] = lambda: ""


class Stage:
    """What a scenario gets. `random` is seeded: the same seed breaks the same things in the same order."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        database: str,
        workload: Workload,
        *,
        seed: int,
        short: bool,
        patience: float,
    ) -> None:
        self.folder = folder
        self.server = server
        self.database = database
        self.workload = workload
        self.short = short
        self.random = Random(seed)
        self.key = base64.b64encode(self.random.randbytes(32)).decode()  # all daemons of a database share it
        self.ledger = Ledger(folder / "ledger")
        self.daemons: list[Daemon] = []
        self.servers: list[Server] = []  # of this scenario alone
        self.loads: list[Load] = []
        self.recoveries: list[float] = []
        self.notes: list[str] = []
        self.broken: list[str] = []
        self.settle_seconds = 90.0
        self.verdict: checker.Verdict | None = None
        self.patience = patience

    def scale(self, short: float, full: float) -> float:
        """Return how much of something, in the short and in the full version."""
        return short if self.short else full

    def times(self, short: int, full: int, *, seconds: float = 30.0) -> Iterator[int]:
        """Count so far in the short and in the full version, but begin nothing after so many seconds."""
        started = trio.current_time()
        for number in range(short if self.short else full):
            if trio.current_time() - started > seconds * self.patience:
                self.note(
                    f"{number} of {full} rounds fitted into the {seconds * self.patience:g} s there were"
                )
                return
            yield number

    def daemon(
        self,
        *,
        ingest: str = "",
        core: str = "",
        plugin: str = "",
        more: str = "",
        port: int | None = None,
        activated: bool = False,
        environ: dict[str, str] | None = None,
        folder: Path | None = None,
        hosts: str | None = None,
    ) -> Daemon:
        """Make a daemon on the scenario's database; `port` leads there through a proxy, `hosts` are several.

        `ingest`, `core` and `plugin` are lines of `[ingest]`, of `[daemon]` and of the workload's table.
        """
        name = "abcdefgh"[len(self.daemons)]
        app, owner = (self.server.url(self.database, user, port) for user in ("wharfd_app", "wharfd_owner"))
        if hosts is not None:
            app, owner = (
                f"postgresql://{u}@/{self.database}?host={hosts}" for u in ("wharfd_app", "wharfd_owner")
            )
        config = "\n".join(
            [
                ingest,
                "[database]",
                f'url = "{app}"',
                f'owner_url = "{owner}"',
                "[secrets]",
                f'key = "{self.key}"',
                "[daemon]",
                f'node = "{name}"',
                core,
                self.workload.config(plugin),
                more,
                "",
            ]
        )
        made = Daemon(folder or self.folder / f"daemon-{name}", config, activated=activated, environ=environ)
        self.daemons.append(made)
        return made

    async def started(self, **options: object) -> Daemon:
        """Make a daemon and wait until it is ready."""
        made = self.daemon(**options)  # type: ignore[arg-type]
        await made.start()
        return made

    @asynccontextmanager
    async def load(
        self, *, rate: float = 120.0, senders: int = 12, prefix: str = "op", ports: list[int] | None = None
    ) -> AsyncIterator[Load]:
        """Deliver to all daemons for the time of the block; at its end, what is under way is acknowledged."""
        load = Load(
            self.workload,
            self.ledger,
            lambda: ports or [one.ingest for one in self.daemons],
            random=Random(self.random.random()),
            rate=rate,
            senders=senders,
            prefix=prefix,
        )
        self.loads.append(load)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ledger.keep_on_disk)
            await nursery.start(load.run)

            yield load
            load.stop()
            with trio.move_on_after(60) as patience:
                await load.ended.wait()
            if patience.cancelled_caught:
                self.broken.append("operations were not acknowledged within 60 s of the end of the fault")
            nursery.cancel_scope.cancel()

    async def recovered(self, load: Load, since: float, *, within: float = 30.0) -> float:
        """Wait until an operation sent after `since` is acknowledged, and keep how long it took."""
        with trio.move_on_after(within):
            seconds = await load.next_acknowledged(since)
            self.recoveries.append(seconds)
            return seconds
        self.broken.append(f"nothing was acknowledged within {within:g} s of the fault")
        raise TimeoutError(self.broken[-1])

    def note(self, text: str) -> None:
        """Keep a figure or an observation for the results."""
        self.notes.append(text)

    def expect(self, condition: bool, text: str) -> None:
        """Keep `text` as a broken promise unless the condition holds; the scenario goes on."""
        if not condition:
            self.broken.append(text)

    def log_events(self) -> Counter[str]:
        """What the daemons logged at error or above, and how often."""
        found: Counter[str] = Counter()
        for daemon in self.daemons:
            if not daemon.log.exists():
                continue
            for line in daemon.log.read_text(errors="replace").splitlines():
                if line.startswith("Traceback"):
                    found["(traceback outside the log)"] += 1
                if '"level":"error"' in line or '"level":"critical"' in line:
                    try:
                        found[json.loads(line)["event"]] += 1
                    except ValueError:
                        found["(unreadable)"] += 1
        return found

    async def judge(self) -> None:
        """Let the checker compare now; for a scenario whose database does not outlive it."""
        self.verdict = await checker.judge(self.server, self.database, self.workload, self.ledger.path)

    async def settled(self) -> bool:
        """Wait until spools and queues are empty; False when that does not happen in time."""
        with trio.move_on_after(self.settle_seconds):
            while any(
                True for one in self.daemons for _ in one.state.glob("spool/*/*.seg") if _.stat().st_size
            ):
                await trio.sleep(0.1)
            return await checker.wait_settled(
                self.server, self.database, self.workload, dead_after=0.0 if self.short else 12.0
            )
        return False

    def quarantined(self) -> int:
        """How many records lie in the spools' quarantine."""
        return sum(1 for one in self.daemons for _ in one.state.glob("spool/**/quarantine/*.why"))

    def close(self) -> None:
        """End every process and close the ledger."""
        for daemon in self.daemons:
            daemon.close()
        self.ledger.close()
