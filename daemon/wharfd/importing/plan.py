"""Which importer takes which table of a source, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from ..declare import Importer
from .errors import ImportRefused
from .sources import OldTable


@dataclass(frozen=True)
class Step:
    """One importer and the table it found."""

    plugin: str
    importer: Importer
    table: OldTable

    @property
    def name(self) -> str:
        """`plugin.importer`."""
        return f"{self.plugin}.{self.importer.name}"


@dataclass(frozen=True)
class Plan:
    """What an import would do. `unknown` are tables nobody takes, `unlike` those whose columns do not fit."""

    source: str
    steps: tuple[Step, ...]
    unknown: tuple[str, ...]
    unlike: Mapping[str, str]


def make_plan(
    source: str,
    tables: Mapping[str, OldTable],
    declared: Sequence[tuple[str, Importer]],
    only: Sequence[str] = (),
) -> Plan:
    """Match tables and importers; raises `ImportRefused` for an unknown name in `only`."""
    named = {f"{plugin}.{importer.name}": (plugin, importer) for plugin, importer in declared}
    for name in only:
        if name not in named:
            raise ImportRefused(
                f"there is no importer {name!r}; there are {', '.join(sorted(named)) or 'none'}"
            )
    order = TopologicalSorter(
        {name: {f"{plugin}.{first}" for first in one.after} for name, (plugin, one) in named.items()}
    )
    steps: list[Step] = []
    unlike: dict[str, str] = {}
    taken: set[str] = set()
    for name in order.static_order():
        if name not in named:
            continue
        plugin, importer = named[name]
        table = tables.get(importer.table)
        if table is None:
            continue
        missing = set(importer.needs) - table.columns
        if missing:
            unlike.setdefault(importer.table, f"{name} needs the columns {', '.join(sorted(missing))}")
            continue
        taken.add(importer.table)
        if not only or name in only:
            steps.append(Step(plugin, importer, table))
    known = {importer.table for _, importer in declared}
    return Plan(
        source,
        tuple(steps),
        tuple(sorted(set(tables) - known)),
        {table: why for table, why in sorted(unlike.items()) if table not in taken},
    )
