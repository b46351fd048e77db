"""Results: kept as JSON, one entry per scenario and workload, and written out as `RESULTS.md`."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

HERE = Path(__file__).parent


class Result(msgspec.Struct, kw_only=True):
    """What came of one scenario."""

    scenario: str
    workload: str
    what: str
    acknowledged: int
    lost: int
    unworked: int
    doubled: int
    invented: int
    recovery_seconds: float | None
    worst_latency_seconds: float
    p99_latency_seconds: float
    outcomes: dict[str, int]
    notes: list[str]
    broken: list[str]
    seconds: float
    seed: int
    short: bool
    date: str
    command: str
    versions: str

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return not (self.lost or self.unworked or self.doubled or self.invented or self.broken)

    def line(self) -> str:
        """The result in one line."""
        recovery = "-" if self.recovery_seconds is None else f"{self.recovery_seconds:.2f} s"
        return (
            f"{'held' if self.held else 'BROKEN':6} {self.scenario:20} {self.workload:8}"
            f" {self.acknowledged:6} acknowledged  {self.lost} lost  {self.doubled} doubled"
            f"{f'  {self.invented} invented' if self.invented else ''}"
            f"  recovery {recovery}"
            f"  worst {self.worst_latency_seconds:.2f} s  ({self.seconds:.0f} s)"
        )


def now() -> str:
    """The time, to the minute, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def describe_versions(postgres: str) -> str:
    """What ran, on what, and how busy that was."""
    return (
        f"wharfd {version('wharfd')}, PostgreSQL {postgres}, Python {platform.python_version()}, "
        f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )


def read(path: Path) -> list[Result]:
    """Return what earlier runs left; nothing where there is none."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []


def merge(path: Path, fresh: list[Result]) -> list[Result]:
    """Replace the entries of what was run in the file of results, and return them all."""
    every = {(one.scenario, one.workload): one for one in [*read(path), *fresh]}
    found = list(every.values())
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return found


def write_page(path: Path, results: list[Result], order: list[str]) -> None:
    """Write `RESULTS.md`."""
    known = [one for one in results if one.scenario in order]
    known.sort(key=lambda one: (order.index(one.scenario), one.workload))
    lines = [
        "# What the fault matrix found",
        "",
        "Written by `python -m faults run …`; each row is the scenario's latest run. *Lost* are",
        "acknowledged deliveries that are not stored, or whose effect is missing; *doubled* are effects that",
        "happened twice. *Recovery* is the longest time from the end of a fault to the next acknowledgement",
        "of a delivery sent after it; *worst latency* is the longest from when a delivery came due to its",
        "acknowledgement, the outage itself included. Times depend on how busy the machine was: the load",
        "average stands with each run.",
        "",
        "| fault | workload | acknowledged | lost | doubled | recovery | worst latency | held |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in known:
        recovery = "" if one.recovery_seconds is None else f"{one.recovery_seconds:.2f} s"
        lines.append(
            f"| [{one.scenario}](#{one.scenario}-{one.workload}) | {one.workload} | {one.acknowledged:,}"
            f" | {one.lost + one.unworked} | {one.doubled} | {recovery} | {one.worst_latency_seconds:.2f} s"
            f" | {'yes' if one.held else '**no**'} |"
        )
    for one in known:
        outcomes = ", ".join(f"{name}: {count:,}" for name, count in sorted(one.outcomes.items()))
        lines += ["", f"## {one.scenario} {one.workload}", "", one.what, ""]
        lines += [f"- **broken**: {text}" for text in one.broken]
        lines += [f"- {text}" for text in one.notes if "\n" not in text]
        lines += [
            f"- Single requests: {outcomes or 'none'}. p99 latency {one.p99_latency_seconds * 1000:.0f} ms.",
            f"- {one.date} UTC, {one.seconds:.0f} s, {one.versions}. `{one.command}`",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
