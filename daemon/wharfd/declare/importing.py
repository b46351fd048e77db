"""How a plugin takes over rows of a system that wharfd replaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .checks import NAME, TABLE, Handler, check


@dataclass(frozen=True, kw_only=True)
class Importer:
    """One table of an old system, and how its rows become this plugin's.

    `convert(row, settings)` is a plain function from an `OldRow` to a frozen msgspec Struct: what will stand
    in our tables, all of it. It raises `Unfit` for a row that cannot be taken over, and says with `row.note`
    what a person should know of one that can. `write(ctx, tx, records)` adds the records that are not there
    yet and returns how many those were; it never changes a row that is. `read(ctx, tx, records)` returns, in
    the same order, what stands in our tables for each record now, or None: it is compared with the record.

    The old table is walked in the order of `key`, the columns that identify a row. A table of the same name
    without the columns `needs` is another system's and left alone. `months` names the partitioned tables that
    are written to, each with the field of the record that chooses the month. `after` names importers of this
    plugin that come first.
    """

    name: str
    system: str
    table: str
    key: tuple[str, ...]
    needs: tuple[str, ...]
    convert: Callable[..., Any]
    write: Handler
    read: Handler
    months: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        check(bool(self.key), self, f"{self.name}: key needs at least one column")
        for table, _ in self.months:
            check(bool(TABLE.match(table)), self, f"{self.name}: {table!r} is not written schema.table")
