"""`python -m faults list`, `python -m faults run NAME…|all [--short] [--seed N]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import trio

from .results import HERE, Result, merge, read, write_page
from .runner import chosen, cluster, play
from .scenarios import SCENARIOS
from .stage import Scenario
from .workload import WORKLOADS, Workload

Turns = deque[tuple[Scenario, Workload]]


def main() -> int:
    """Run what was asked for; 0 when every promise held."""
    parser = argparse.ArgumentParser(
        prog="python -m faults", description="break wharfd and count what was lost"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show the scenarios")
    run = commands.add_parser("run", help="run scenarios")
    run.add_argument("names", nargs="+", metavar="NAME", help="names of scenarios, or: all")
    run.add_argument("--short", action="store_true", help="the version that runs inside the test suite")
    run.add_argument("--seed", type=int, help="repeat a run; a random one otherwise")
    run.add_argument("--workload", choices=sorted(WORKLOADS), help="what is delivered")
    run.add_argument("--patience", type=float, default=1.0, help="how much longer loops may take")
    run.add_argument("--lanes", type=int, default=1, help="how many at a time, each on its own PostgreSQL")
    run.add_argument("--results", type=Path, default=HERE, help="folder for RESULTS.md and results.json")
    run.add_argument("--keep", type=Path, help="folder for the daemons' logs and the ledgers")
    soak = commands.add_parser("soak", help="random scenarios, one after the other")
    soak.add_argument("--hours", type=float, default=8.0)
    soak.add_argument("--seed", type=int)
    options = parser.parse_args()
    if options.command == "list":
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:24} {'short ' if scenario.short else '      '} {scenario.what}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left running behind it
    if options.seed is None:
        options.seed = int(time.time()) % 1_000_000
    return trio.run(soak_for if options.command == "soak" else run_chosen, options)


async def run_chosen(options: argparse.Namespace) -> int:
    """Run the scenarios and write the results."""
    try:
        scenarios = chosen(options.names, SCENARIOS, short=options.short)
    except KeyError as unknown:
        print(f"there is no scenario {unknown}; see: python -m faults list", file=sys.stderr)
        return 2
    print(f"seed {options.seed}", flush=True)
    results: list[Result] = []
    turns = longest_first(pairs(scenarios, options.workload, short=options.short), options.results)
    async with trio.open_nursery() as nursery:
        for _ in range(min(options.lanes, len(turns))):
            nursery.start_soon(play_turns, turns, results, options)
    return 0 if all(one.held for one in results) else 1


async def play_turns(turns: Turns, results: list[Result], options: argparse.Namespace) -> None:
    """Play turns on a PostgreSQL of this lane's own, one after the other, until none is left."""
    async with cluster() as server:
        while turns:
            scenario, workload = turns.popleft()
            if missing := scenario.needs():
                print(f"left   {scenario.name:24} {missing}", flush=True)
                continue
            command = f"python -m faults run {scenario.name} --seed {options.seed} --workload {workload.name}"
            played = await play(
                scenario,
                server,
                seed=options.seed,
                short=options.short,
                command=command + (" --short" if options.short else ""),
                workload=workload,
                keep=options.keep,
                patience=options.patience,
            )
            results.append(played)
            show(played)
            everything = merge(options.results / "results.json", results)
            write_page(options.results / "RESULTS.md", everything, list(SCENARIOS))


def longest_first(wanted: Iterable[tuple[Scenario, Workload]], folder: Path) -> Turns:
    """Return the turns, those first that took longest the last time: so the lanes end together."""
    took = {(one.scenario, one.workload): one.seconds for one in read(folder / "results.json")}
    return deque(sorted(wanted, key=lambda turn: -took.get((turn[0].name, turn[1].name), 60.0)))


def pairs(scenarios: list[Scenario], only: str | None, *, short: bool) -> Iterator[tuple[Scenario, Workload]]:
    """Return what is played with what: every scenario's workloads, or the one that was asked for."""
    for scenario in scenarios:
        names = [only] if only else scenario.workloads[:1] if short else scenario.workloads
        for name in names:
            yield scenario, WORKLOADS[name]


async def soak_for(options: argparse.Namespace) -> int:
    """Play random scenarios until the time is over or a promise is broken; the seed repeats the order."""
    random = Random(options.seed)
    until = trio.current_time() + options.hours * 3600
    print(f"seed {options.seed}", flush=True)
    async with cluster() as server:
        while trio.current_time() < until:
            scenario = random.choice([one for one in SCENARIOS.values() if not one.needs()])
            workload = WORKLOADS[random.choice(scenario.workloads)]
            seed = random.randrange(1_000_000)
            command = f"python -m faults run {scenario.name} --seed {seed} --workload {workload.name}"
            played = await play(
                scenario, server, seed=seed, short=False, command=command, workload=workload, patience=3.0
            )
            show(played)
            if not played.held:
                print(f"repeat it with: {command}")
                return 1
    return 0


def show(result: Result) -> None:
    """Print a result, and everything about one that broke a promise."""
    print(result.line(), flush=True)
    if not result.held:
        for text in (*result.broken, *result.notes):
            print(f"       {text}")
        print(f"       {result.outcomes}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
