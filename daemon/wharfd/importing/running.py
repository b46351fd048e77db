"""A whole import: open what is needed, plan, walk, compare, and say what came of it.

It runs in a process of its own, where no plugin runs: nothing is worked, sent or minted meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import trio

from ..config import Configuration
from ..context import PluginContext
from ..db import Bridge, open_bridge
from ..declare import Importer
from ..life import ExtensionPoints, Neighbours, ServiceBoard
from ..machinery import Machinery, open_machinery
from ..opening import migrate, node_name, opened_database
from ..registry import Registry
from ..state import StateFolder, own_state_folder
from . import ledger
from .ledger import Remarks
from .opening import open_source
from .plan import Plan, Step, make_plan
from .sources import Source
from .walking import Comparison, Progress, compare, next_page, walk

Mode = Literal["plan", "dry-run", "import"]


@dataclass(frozen=True)
class Wish:
    """What was asked for: from where, which parts, and how far to go."""

    where: str
    schema: str = "public"
    mode: Mode = "import"
    only: tuple[str, ...] = ()
    page_size: int = 500
    anew: bool = False
    compare: bool = True


@dataclass
class Outcome:
    """What came of one importer; `remarks` are why rows were refused and what is to be known of others."""

    importer: str
    table: str
    system: str
    rows: int
    state: str
    read: int = 0
    written: int = 0
    refused: int = 0
    remarks: Sequence[Mapping[str, Any]] = ()
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Report:
    """What an import did or would do. `well` is False when a row was refused or a comparison differs."""

    source: str
    mode: Mode
    outcomes: tuple[Outcome, ...]
    unknown_tables: tuple[str, ...]
    unlike_tables: Mapping[str, str]

    @property
    def well(self) -> bool:
        """Whether every row is where it should be, as far as was looked."""
        return all(
            not one.refused and (one.comparison is None or one.comparison.equal) for one in self.outcomes
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**asdict(self), "well": self.well}


def _nothing(name: str, doing: str, rows: int, of: int) -> None:
    """Nobody watches."""


async def run_import(
    machinery: Machinery, registry: Registry, bridge: Bridge, wish: Wish, progress: Progress = _nothing
) -> Report:
    """Do what was asked for and return what came of it.

    It can be stopped at any moment, and killed: called again it goes on behind the last page that was
    committed. Called after it had ended it walks again, adds what is new, and compares again.
    """
    async with open_source(bridge, wish.where, wish.schema) as source:
        plan = make_plan(source.name, await source.tables(), registry.of(Importer), wish.only)
        outcomes = []
        for step in plan.steps:
            ctx = _context(machinery, registry, step.plugin)
            outcomes.append(await _carry_out(wish, source, step, ctx, progress))
        if wish.mode == "import" and outcomes:
            await _audit(machinery, plan, outcomes)
        return Report(source.name, wish.mode, tuple(outcomes), plan.unknown, plan.unlike)


def _context(machinery: Machinery, registry: Registry, plugin: str) -> PluginContext[Any]:
    """Return the plugin's context; no plugin runs, so no service is up and nobody is called."""
    contexts: dict[str, PluginContext[Any]] = {}
    return machinery.context(
        registry.host.plugins[plugin],
        registry,
        nursery=None,
        services=ServiceBoard(),
        plugins=Neighbours(registry, contexts),
        hooks=ExtensionPoints(registry.host, contexts, registry.order),
    )


async def _carry_out(
    wish: Wish, source: Source, step: Step, ctx: PluginContext[Any], progress: Progress
) -> Outcome:
    outcome = Outcome(step.name, step.table.name, step.importer.system, step.table.rows, "planned")
    if wish.mode == "dry-run":
        await _try(source, step, ctx, wish.page_size, outcome, progress)
    elif wish.mode == "plan":
        before = await ledger.find(ctx.db, source.name, step.name)
        if before is not None:
            outcome.state = "imported" if before.finished_at else "interrupted"
            outcome.read, outcome.written, outcome.refused = before.rows_read, before.written, before.refused
    else:
        done = await walk(source, step, ctx, size=wish.page_size, anew=wish.anew, progress=progress)
        outcome.state = "imported"
        outcome.read, outcome.written, outcome.refused = done.rows_read, done.written, done.refused
        outcome.remarks = await ledger.remarks_of(ctx.db, source.name, step.name)
        if wish.compare:
            outcome.comparison = await compare(
                source, step, ctx, size=wish.page_size, done=done, progress=progress
            )
            await ledger.compared(ctx.db, source.name, step.name, asdict(outcome.comparison))
            outcome.state = "equal" if outcome.comparison.equal else "different"
    return outcome


async def _try(
    source: Source, step: Step, ctx: PluginContext[Any], size: int, outcome: Outcome, progress: Progress
) -> None:
    """Read and convert everything, write nothing."""
    position, remarks = "", Remarks()
    while (page := await next_page(source, step, ctx.settings, position, size)) is not None:
        position = page.position
        outcome.read += len(page.raw)
        outcome.refused += len(page.raw) - len(page.records)
        remarks.extend(page.remarks)
        progress(step.name, "trying", outcome.read, step.table.rows)
    outcome.state = "tried"
    outcome.remarks = remarks.listed()


async def _audit(machinery: Machinery, plan: Plan, outcomes: Sequence[Outcome]) -> None:
    detail = {one.importer: {"written": one.written, "refused": one.refused} for one in outcomes}
    async with machinery.db.transaction() as tx:
        await machinery.audit.record(
            tx, actor="wharfd import", action="import.finished", subject=plan.source, detail=detail
        )


@asynccontextmanager
async def opened_for_import(
    configuration: Configuration, registry: Registry, state_dir: Any
) -> AsyncIterator[tuple[Machinery, Bridge]]:
    """Open the database and the machinery that stands on it, as the daemon does, and nothing else.

    With a PostgreSQL that is given the daemon may run beside it; the embedded one belongs to whoever holds
    the state folder, so there the daemon has to be stopped first.
    """
    core = configuration.core
    async with AsyncExitStack() as stack:
        if core.database.url is None:
            state = stack.enter_context(own_state_folder(state_dir))
        else:
            state = StateFolder(state_dir.absolute())
            state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        bridge = await stack.enter_async_context(open_bridge())
        ground = await stack.enter_async_context(trio.open_nursery())
        db, server = await stack.enter_async_context(opened_database(bridge, core, state, ground))
        await migrate(db, registry, server, state)
        machinery = await stack.enter_async_context(
            open_machinery(bridge, db, core, state, node=node_name(core))
        )
        yield machinery, bridge
        ground.cancel_scope.cancel()
