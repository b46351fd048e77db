"""Following a batch in a terminal: a progress bar that survives a restart of the daemon."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from wharfd import Output, WharfdError

_POLL_SECONDS = 0.2
_LINE_SECONDS = 5.0


@contextmanager
def sending(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Give the file back, with a bar in the terminal that shows how much of it was sent."""
    if not sys.stderr.isatty():
        yield file
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress.wrap_file(file, total=path.stat().st_size, description=f"sending {path.name}")


def watch(client: Any, output: Output, batch: str) -> int:
    """Show progress until the batch is over; return 0 when every order was carried out, else 1.

    Ctrl-C ends the watching and not the batch, and says how to come back.
    """
    try:
        view = _bar(client, batch) if sys.stderr.isatty() else _lines(client, batch)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nthe batch goes on; come back with: wharfd orders watch {batch}\n")
        return 130
    if output.as_json:
        output.json(view)
    else:
        output.line(_summary(view))
        if view["failed"]:
            output.line(f"what failed: wharfd orders results {batch} --which failed --format csv")
        if view["unknown"]:
            output.line(f"orders with an unknown outcome wait to be resolved: wharfd orders show {batch}")
    return 0 if view["status"] == "completed" else 1


def _ask(client: Any, batch: str) -> dict[str, Any] | None:
    """Return the progress; None while the daemon cannot be reached."""
    try:
        found: dict[str, Any] = client.get(f"/api/bulk-orders/{quote(batch, safe='')}/progress")
    except WharfdError as error:
        if getattr(error, "status", None) not in (None, 503):
            raise
        return None
    return found


def _over(view: dict[str, Any]) -> bool:
    return view["completedAt"] is not None or view["phase"] == "needs_attention"


def _bar(client: Any, batch: str) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.console.print(f"batch {batch}", highlight=False)
        task = progress.add_task("asking", total=None, pace="")
        while True:
            view = _ask(client, batch)
            if view is None:
                progress.update(task, pace="the daemon is away; waiting")
            else:
                done = view["total"] - view["pending"] - view["processing"] - view["unknown"]
                progress.update(
                    task,
                    total=view["total"],
                    completed=done,
                    description=view["phase"],
                    pace=_pace(view),
                )
                if _over(view):
                    return view
            _pause(_POLL_SECONDS)


def _lines(client: Any, batch: str) -> dict[str, Any]:
    told = 0.0
    while True:
        view = _ask(client, batch)
        if view is not None and _over(view):
            return view
        if time.monotonic() - told >= _LINE_SECONDS:
            told = time.monotonic()
            words = "the daemon is away; waiting" if view is None else _summary(view)
            sys.stderr.write(f"{words}\n")
        _pause(_POLL_SECONDS)


def _pace(view: dict[str, Any]) -> str:
    if view["waitsFor"]:
        return str(view["waitsFor"])
    words = f"{view['ordersPerSecond']:,.0f}/s"
    if view["estimatedCompletion"]:
        words += f"  until {view['estimatedCompletion'][11:19]} UTC"
    if view["failed"]:
        words += f"  {view['failed']:,} failed"
    return words


def _summary(view: dict[str, Any]) -> str:
    return (
        f"{view['batchId']} {view['status']} ({view['phase']}): "
        f"{view['succeeded']:,} of {view['total']:,} carried out, "
        f"{view['failed']:,} failed, {view['duplicates']:,} duplicates, {view['cancelled']:,} cancelled"
    )


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
