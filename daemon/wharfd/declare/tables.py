"""What a plugin keeps in PostgreSQL: its migrations, and how long rows stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from .checks import TABLE, check


@dataclass(frozen=True)
class Migrations:
    """The plugin's SQL files `migrations/NNNN_words.sql` beside its package.

    `partitioned` names the tables (`schema.table`) the core makes monthly partitions for, ahead of time.
    `keep_forever` names tables from which the app role cannot DELETE.
    """

    package: str
    partitioned: tuple[str, ...] = ()
    keep_forever: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for table in (*self.partitioned, *self.keep_forever):
            check(bool(TABLE.match(table)), self, f"{table!r} is not written schema.table")


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """How long rows of `table` are kept, by `column`. `where` narrows it to rows that may ever go.

    A partitioned table loses whole months; any other is deleted from in small fenced batches by `key`.
    """

    name: str
    table: str
    column: str
    keep: timedelta
    key: tuple[str, ...] = ("id",)
    where: str = "true"
    partitioned: bool = False
    archive: bool = True

    def __post_init__(self) -> None:
        check(bool(TABLE.match(self.table)), self, f"{self.table!r} is not written schema.table")
        check(self.keep > timedelta(0), self, f"{self.name}: keep must be longer than nothing")
