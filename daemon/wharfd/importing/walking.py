"""One walk over an old table: page by page, each page and the place it ends at in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asyncpg import exceptions

from ..context import PluginContext
from ..db import Transaction, partitions
from . import ledger
from .digests import Digest
from .ledger import Remarks, Walk
from .plan import Step
from .rows import OldRow, Unfit
from .sources import Source

Progress = Callable[[str, str, int, int], None]
"""Called with a step's name, what is being done, rows so far and rows there are (an estimate)."""

_ROW_ERRORS = (exceptions.IntegrityConstraintViolationError, exceptions.DataError, Unfit)


@dataclass
class Page:
    """What a page of old rows became. `raw` are the rows as they were read."""

    position: str
    raw: list[Mapping[str, Any]]
    keys: list[str] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)


@dataclass(frozen=True)
class Comparison:
    """The old rows, converted anew, against what stands in our tables now.

    `expected` and `found` are the checksums of both; `changed_meanwhile` says that the old table is not what
    was imported any more.
    """

    rows_read: int
    refused: int
    expected_rows: int
    found_rows: int
    expected: str
    found: str
    changed_meanwhile: bool
    missing: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether everything that could be taken over stands here as it should."""
        return self.expected == self.found and not self.changed_meanwhile


async def next_page(source: Source, step: Step, settings: Any, after: str, size: int) -> Page | None:
    """Read and convert the next page; None at the end."""
    importer = step.importer
    rows = await source.read(importer.table, importer.key, after, size)
    if not rows:
        return None
    page = Page(rows[-1][0], [values for _, values in rows])
    for _, values in rows:
        key = ", ".join(str(values.get(column)) for column in importer.key)
        row = OldRow(values, key=key)
        try:
            record = importer.convert(row, settings)
        except Unfit as unfit:
            page.remarks.add(key, str(unfit), refused=True)
            continue
        page.keys.append(key)
        page.records.append(record)
        for note in row.notes:
            page.remarks.add(key, note, refused=False)
    return page


async def walk(
    source: Source, step: Step, ctx: PluginContext[Any], *, size: int, anew: bool, progress: Progress
) -> Walk:
    """Take over a table from where the last walk stopped; from the beginning if it had ended."""
    before = await ledger.find(ctx.db, source.name, step.name)
    if before is None or before.finished_at is not None or anew:
        async with ctx.db.transaction() as tx:
            await ledger.begin(tx, source.name, step.name)
        before = None
    position = before.position if before else ""
    read = before.rows_read if before else 0
    digest = Digest(before.digest if before else "")
    months: set[tuple[str, int, int]] = set()
    while True:
        progress(step.name, "importing", read, step.table.rows)
        page = await next_page(source, step, ctx.settings, position, size)
        if page is None:
            break
        await _make_months(ctx, step, page.records, months)
        digest.add(page.raw)
        await _write_page(source, step, ctx, page, since=position, digest=digest.text)
        position, read = page.position, read + len(page.raw)
    await ledger.finish(ctx.db, source.name, step.name)
    done = await ledger.find(ctx.db, source.name, step.name)
    assert done is not None
    return done


async def _make_months(
    ctx: PluginContext[Any], step: Step, records: Sequence[Any], made: set[tuple[str, int, int]]
) -> None:
    for table, field_name in step.importer.months:
        for record in records:
            at: datetime = getattr(record, field_name)
            month = (table, at.year, at.month)
            if month not in made:
                await partitions.ensure_range(ctx.db.owner, table, at, at)
                made.add(month)


async def _write_page(
    source: Source, step: Step, ctx: PluginContext[Any], page: Page, *, since: str, digest: str
) -> None:
    async def unit(tx: Transaction, *, one_by_one: bool) -> None:
        remarks = Remarks()
        remarks.extend(page.remarks)
        if one_by_one:
            written = 0
            for key, record in zip(page.keys, page.records, strict=True):
                try:
                    async with tx.savepoint():
                        written += await step.importer.write(ctx, tx, [record])
                except _ROW_ERRORS as error:
                    remarks.add(key, _sentence(error), refused=True)
        else:
            written = await step.importer.write(ctx, tx, page.records) if page.records else 0
        await ledger.move(
            tx,
            source.name,
            step.name,
            since=since,
            to=page.position,
            read=len(page.raw),
            written=written,
            digest=digest,
            remarks=remarks,
        )

    try:
        await ctx.db.repeat(lambda tx: unit(tx, one_by_one=False))
    except _ROW_ERRORS:  # one of the rows; the others shall not suffer for it
        await ctx.db.repeat(lambda tx: unit(tx, one_by_one=True))


def _sentence(error: Exception) -> str:
    if isinstance(error, Unfit):
        return str(error)
    detail = getattr(error, "detail", None)
    return f"the database refuses it: {error}" + (f" ({detail})" if detail else "")


async def compare(
    source: Source, step: Step, ctx: PluginContext[Any], *, size: int, done: Walk, progress: Progress
) -> Comparison:
    """Walk the old table once more and compare each row with what stands in our tables."""
    raw, expected, found = Digest(), Digest(), Digest()
    position, read, there, wanted, refused = "", 0, 0, 0, 0
    missing: list[str] = []
    differing: list[str] = []
    while True:
        progress(step.name, "comparing", read, step.table.rows)
        page = await next_page(source, step, ctx.settings, position, size)
        if page is None:
            break
        raw.add(page.raw)
        refused += len(page.raw) - len(page.records)
        async with ctx.db.transaction(readonly=True) as tx:
            stored = await step.importer.read(ctx, tx, page.records) if page.records else []
        for key, record, present in zip(page.keys, page.records, stored, strict=True):
            if present is None:
                missing.append(key)
            elif present != record:
                differing.append(key)
        expected.add(page.records)
        found.add(present for present in stored if present is not None)
        wanted += len(page.records)
        there += sum(present is not None for present in stored)
        position, read = page.position, read + len(page.raw)
    result = Comparison(
        read,
        refused,
        wanted,
        there,
        expected.text,
        found.text,
        raw.text != Digest(done.digest).text or read != done.rows_read,
        tuple(missing[: ledger.EXAMPLES]),
        tuple(differing[: ledger.EXAMPLES]),
    )
    return result
