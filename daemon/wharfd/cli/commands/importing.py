"""`wharfd import`: take over the rows of an old system."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from ...declare import Command
from ...errors import WharfdError
from ..arguments import config_of
from ..client import Client
from ..output import Output

if TYPE_CHECKING:
    from ...app import Prepared
    from ...importing.running import Outcome, Report, Wish
    from ...importing.walking import Progress

FROM = "WHARFD_IMPORT_FROM"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="where",
        metavar="URL|FOLDER",
        help=f"postgresql://… or a folder of <table>.jsonl and .csv files ({FROM}; keeps a password off the "
        "list of processes)",
    )
    parser.add_argument("--schema", default="public", help="the schema of the old tables (public)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="one importer; repeatable"
    )
    parser.add_argument("--plan", action="store_true", help="say what there is and what would be done")
    parser.add_argument("--dry-run", action="store_true", help="read and convert everything, write nothing")
    parser.add_argument(
        "--anew", action="store_true", help="begin at the first row, also after an interruption"
    )
    parser.add_argument("--no-compare", action="store_true", help="leave out the comparison at the end")
    parser.add_argument("--page", type=int, default=500, metavar="ROWS", help="rows a transaction (500)")


def _import(arguments: argparse.Namespace, client: Client) -> int:
    from ...app import prepare
    from ...importing.running import Wish

    where = arguments.where or os.environ.get(FROM)
    if not where:
        raise WharfdError(f"say where the old data is, with --from or {FROM}")
    if not 1 <= arguments.page <= 10_000:
        raise WharfdError(f"--page {arguments.page} is not between 1 and 10000")
    wish = Wish(
        where=where,
        schema=arguments.schema,
        mode="plan" if arguments.plan else "dry-run" if arguments.dry_run else "import",
        only=tuple(arguments.only),
        page_size=arguments.page,
        anew=arguments.anew,
        compare=not arguments.no_compare,
    )
    prepared = prepare(config_of(arguments), arguments.state_dir, os.environ)
    report = _watched(prepared, wish, quiet=arguments.json or not sys.stderr.isatty())
    output = Output(as_json=arguments.json)
    if arguments.json:
        output.json(report.as_json())
    else:
        _show(output, report)
    return 0 if report.well or report.mode == "plan" else 1


def _watched(prepared: Prepared, wish: Wish, *, quiet: bool) -> Report:
    """Run the import, with a bar for every table where somebody looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if quiet:
        return _run(prepared, wish, None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, object] = {}

        def progress(name: str, doing: str, rows: int, of: int) -> None:
            title = f"{doing} {name}"
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=of)
            bars.update(tasks[title], completed=rows, total=max(rows, of))  # type: ignore[arg-type]

        return _run(prepared, wish, progress)


def _run(prepared: Prepared, wish: Wish, progress: Progress | None) -> Report:
    import trio

    from ... import log as logging
    from ...db.bridge import unwrapped
    from ...importing.running import opened_for_import, run_import

    core = prepared.configuration.core
    logging.configure("warning", core.log.format)

    async def main() -> Report:
        async with opened_for_import(prepared.configuration, prepared.registry, prepared.state_dir) as opened:
            machinery, bridge = opened
            extra = () if progress is None else (progress,)
            return await run_import(machinery, prepared.registry, bridge, wish, *extra)

    with unwrapped():
        return trio.run(main)


def _show(output: Output, report: Report) -> None:
    output.line(f"from {report.source}")
    output.table(
        [_row(one) for one in report.outcomes],
        ["importer", "table", "rows", "state", "read", "written", "refused"],
        empty="no table of this source is known to an enabled plugin",
    )
    for one in report.outcomes:
        for remark in one.remarks:
            kind = "refused" if remark["refused"] else "note"
            examples = ", ".join(remark["examples"][:3])
            output.line(f"  {one.importer} {kind}: {remark['rows']} × {remark['remark']} (e.g. {examples})")
        compared = one.comparison
        if compared is not None:
            output.line(
                f"  {one.importer}: {compared.expected_rows} rows should be here, {compared.found_rows} are; "
                f"checksums {compared.expected[:16]} and {compared.found[:16]}"
            )
            for what, keys in (("missing", compared.missing), ("different", compared.differing)):
                if keys:
                    output.line(f"    {what}: {', '.join(keys[:5])}")
            if compared.changed_meanwhile:
                output.line("    the old table was changed meanwhile; run the import again")
    for table, why in report.unlike_tables.items():
        output.line(f"left alone: {table}, whose columns do not fit: {why}")
    if report.unknown_tables:
        output.line(f"left alone: {', '.join(report.unknown_tables)}, which no enabled plugin knows")


def _row(one: Outcome) -> dict[str, object]:
    return {
        "importer": one.importer,
        "table": one.table,
        "rows": one.rows,
        "state": one.state,
        "read": one.read,
        "written": one.written,
        "refused": one.refused,
    }


COMMANDS = (
    Command(name="import", summary="take over the rows of an old system", configure=_configure, run=_import),
)
