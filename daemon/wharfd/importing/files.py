"""A folder of dumps: `<table>.jsonl` or `<table>.csv` with a header, plain, `.gz` or `.zst`."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import msgspec
import trio
import zstandard

from .errors import SourceError
from .rows import read_fields
from .sources import OldTable, Position

_KINDS = (".jsonl", ".ndjson", ".csv")
_PACKED = ("", ".gz", ".zst")
_LONGEST_FIELD = 64 << 20

Row = Mapping[str, Any]


class DumpFolder:
    """Files of one folder, one a table. The position of a row is its number in the file."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SourceError(
                f"{folder} is no folder; give one with <table>.jsonl or <table>.csv files, or a "
                "postgresql:// URL"
            )
        self.name = f"folder {folder.absolute()}"
        self._files: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            for kind in _KINDS:
                for packed in _PACKED:
                    if path.name.endswith(kind + packed) and path.is_file():
                        self._add(path.name.removesuffix(kind + packed), path)
        self._walks: dict[str, tuple[int, Iterator[Row]]] = {}

    def _add(self, table: str, path: Path) -> None:
        if table in self._files:
            raise SourceError(f"{self._files[table]} and {path} are both a dump of {table}; remove one")
        self._files[table] = path

    async def tables(self) -> Mapping[str, OldTable]:
        """Return the tables there are files of, with the columns of the first thousand rows."""
        return await trio.to_thread.run_sync(self._look)

    def _look(self) -> dict[str, OldTable]:
        found = {}
        for table, path in self._files.items():
            columns: set[str] = set()
            rows = 0
            for row in _rows(path):
                if rows < 1000:
                    columns |= row.keys()
                rows += 1
            found[table] = OldTable(table, frozenset(columns), rows)
        return found

    async def read(
        self, table: str, key: Sequence[str], after: Position, limit: int
    ) -> list[tuple[Position, Row]]:
        """Return the next rows of the file; a walk that goes on where it stood does not read it anew."""
        first = int(after or 0)

        def page() -> list[tuple[Position, Row]]:
            at, rows = self._walks.pop(table, (-1, iter(())))
            if at != first:
                rows = islice(_rows(self._files[table]), first, None)
            found = list(islice(rows, limit))
            self._walks[table] = (first + len(found), rows)
            return [(str(number), row) for number, row in enumerate(found, first + 1)]

        return await trio.to_thread.run_sync(page)


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    if path.name.endswith(".zst"):
        reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
        return io.TextIOWrapper(reader, encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path) -> Iterator[Row]:
    try:
        with _open(path) as text:
            if ".csv" in path.suffixes:
                csv.field_size_limit(_LONGEST_FIELD)
                yield from _csv(path, text)
            else:
                for number, line in enumerate(text, 1):
                    if line.strip():
                        yield _object(path, number, line)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zstandard.ZstdError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def _csv(path: Path, text: TextIO) -> Iterator[Row]:
    reader = csv.DictReader(text, strict=True)
    for row in reader:
        if None in row or None in row.values():
            raise SourceError(f"{path}:{reader.line_num}: has another number of fields than the header")
        yield row


def _object(path: Path, number: int, line: str) -> Row:
    try:
        return read_fields(line)
    except msgspec.DecodeError as error:
        raise SourceError(f"{path}:{number}: is no JSON object ({error}); was the dump cut off?") from None
