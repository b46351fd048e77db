"""Plays scenarios one after the other and turns each into a result."""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import trio

from .checker import Verdict
from .postgres import Server
from .results import Result, describe_versions, now
from .stage import Scenario, Stage
from .workload import PROOF, Workload

LONGEST_SECONDS = 600.0


@asynccontextmanager
async def cluster() -> Any:
    """A PostgreSQL with fsync on, for as long as the block."""
    with tempfile.TemporaryDirectory(prefix="wharfd-faults-") as folder:
        server = Server(Path(folder) / "postgres")
        await server.create()
        try:
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await server.stop("immediate")


async def play(
    scenario: Scenario,
    server: Server,
    *,
    seed: int,
    short: bool,
    command: str,
    workload: Workload = PROOF,
    longest: float = LONGEST_SECONDS,
    keep: Path | None = None,
    patience: float = 1.0,
) -> Result:
    """Play one scenario on a database of its own and return what came of it; a defect never raises.

    `keep` is a folder to which the daemons' logs and the ledger are copied; with more `patience` than 1 loops
    may take longer, so that all their rounds are played on a slow machine.
    """
    database = f"{scenario.name}_{workload.name}".replace("-", "_")
    started = trio.current_time()
    with tempfile.TemporaryDirectory(prefix=f"wharfd-{scenario.name}-") as folder:
        await server.query("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await server.make_database(database)
        stage = Stage(Path(folder), server, database, workload, seed=seed, short=short, patience=patience)
        try:
            with trio.move_on_after(longest * patience) as limit:
                await _act(scenario, stage)
            if limit.cancelled_caught:
                stage.broken.append(f"not done within {longest * patience:g} s")
            if stage.verdict is None:
                try:
                    await stage.judge()
                except CalledProcessError as error:
                    stage.broken.append(f"it could not be judged: {error.stderr.decode(errors='replace')}")
            verdict = stage.verdict or Verdict(stage.ledger.acknowledged, (), (), (), ())
        finally:
            stage.close()
            with trio.CancelScope(shield=True):
                for extra in stage.servers:
                    await extra.stop("immediate")
            if keep is not None:
                for file in (stage.ledger.path, *(daemon.log for daemon in stage.daemons)):
                    if file.exists():
                        target = keep / scenario.name / file.relative_to(folder)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(file, target)
        if verdict.invented:
            stage.note(f"never offered, but stored: {', '.join(verdict.invented[:20])}")
        if stage.broken:
            stage.note("log: " + ", ".join(f"{event} ×{n}" for event, n in stage.log_events().items()))
    await server.query("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    outcomes = sum((load.outcomes for load in stage.loads), start=type(stage.log_events())())
    waits = sorted(wait for load in stage.loads for wait in load.waits)
    return Result(
        scenario=scenario.name,
        workload=workload.name,
        what=scenario.what,
        acknowledged=verdict.acknowledged,
        lost=len(verdict.lost),
        unworked=len(verdict.unworked),
        doubled=len(verdict.doubled),
        invented=len(verdict.invented),
        recovery_seconds=max(stage.recoveries, default=None),
        worst_latency_seconds=max((load.worst for load in stage.loads), default=0.0),
        p99_latency_seconds=waits[int(len(waits) * 0.99)] if waits else 0.0,
        outcomes=dict(outcomes),
        notes=stage.notes,
        broken=stage.broken,
        seconds=trio.current_time() - started,
        seed=seed,
        short=short,
        date=now(),
        command=command,
        versions=describe_versions(server.version),
    )


async def _act(scenario: Scenario, stage: Stage) -> None:
    try:
        await scenario.run(stage)
    except Exception as error:
        stage.broken.append(f"{type(error).__name__}: {error}")
        stage.note(traceback.format_exc())
        return
    if stage.verdict is not None:
        return
    stage.expect(await stage.settled(), f"work was still open {stage.settle_seconds:g} s after the end")
    quarantined = stage.quarantined()
    stage.expect(quarantined == 0, f"{quarantined} records lie in quarantine")
    for daemon in stage.daemons:
        if daemon.running:
            stage.expect(await daemon.stop() == 0, "a daemon did not end in good order")
        hurried = daemon.log.read_text(errors="replace").count("stop_cut_short") if daemon.log.exists() else 0
        stage.expect(hurried == 0, f"a stop took longer than its 30 s, {hurried} times")


def chosen(names: Sequence[str], table: dict[str, Scenario], *, short: bool) -> list[Scenario]:
    """Return the scenarios that are asked for; raises `KeyError` with the name nobody knows."""
    if list(names) == ["all"]:
        return [one for one in table.values() if one.short or not short]
    return [table[name] for name in names]
