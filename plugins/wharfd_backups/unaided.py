"""`wharfd backup restore`: without a daemon and without its database, which may both be gone."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from wharfd import Folder, Output, Secret, WharfdError, choose_confinement, find_binaries

from .config import Settings
from .engine.programs import Programs
from .engine.storehouse import Storehouse
from .model.targets import BEFORE_GAP, Target
from .mounting import target_of
from .restoring.checks import DEEP, QUICK, check_all, page_checksums
from .restoring.logfiles import LogMissing
from .restoring.outcome import Check, one
from .restoring.restore import Restored, Source, restore
from .restoring.scratch import remove_folder
from .restoring.unpacking import Damaged
from .upkeep import open_storehouse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what a restore takes beside its backup and target."""
    parser.add_argument("--into", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--from", dest="place", type=Path, help="folder of the backups, instead of the first place"
    )
    parser.add_argument("--second", action="store_true", help="take them from the second place")
    parser.add_argument("--identity", type=Path, help="file with the age secret key")
    parser.add_argument("--bin-dir", type=Path, help="PostgreSQL's programs")
    parser.add_argument("--check", action="store_true", help="make the checks of a drill, which takes longer")
    parser.add_argument(
        "--serve", action="store_true", help="let its server run until Ctrl-C, to look around"
    )


async def carry_out(settings: Settings, arguments: argparse.Namespace, output: Output) -> int:
    """Restore, check, say what was reached; 1 when a check failed."""
    state_dir = arguments.state_dir.absolute() / "plugins" / "backups"
    storehouse = (
        Storehouse(Folder(arguments.place)) if arguments.place else open_storehouse(settings, state_dir)
    )
    if arguments.second and storehouse.second is None:
        raise WharfdError("no second place is configured")
    confinement = await choose_confinement(owner_of(arguments.state_dir))
    programs = Programs(await find_binaries(arguments.bin_dir, confinement), confinement)
    source = Source(
        storehouse=storehouse,
        place=storehouse.places[-1 if arguments.second else 0],
        identity=_identity(settings, arguments.identity, state_dir),
        programs=programs,
        incoming=None if arguments.place or arguments.second else settings.incoming_in(state_dir),
    )
    into = arguments.into.absolute()
    occupied = into.exists()
    try:
        restored = await restore(
            source, _target(arguments), into, backup_id=arguments.backup, hear=output.line
        )
    except BaseException as error:
        if not occupied and into.exists():  # what a restore leaves that did not get to its end is of no use
            remove_folder(into, into.parent)
        if isinstance(error, Damaged | LogMissing) and source.place is not storehouse.places[-1]:
            raise WharfdError(f"{error}; --second reads {storehouse.places[-1].name}") from None
        raise
    try:
        checks = await _check(restored, programs, everything=arguments.check, output=output)
        _show(restored, checks, output)
        if arguments.serve:
            output.line(f"look around: {_psql(restored)}   (Ctrl-C ends it; the folder stays)")
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    break
    finally:
        await restored.scratch.stop()
    return 1 if any(check.outcome == "failed" for check in checks) else 0


def owner_of(state_dir: Path) -> str | None:
    """Return as whom root restores: the user of the daemon, who could not read files of root's.

    None for one without a name, as in a container: PostgreSQL would not run as such.
    """
    if os.geteuid() != 0 or not state_dir.exists() or state_dir.stat().st_uid == 0:
        return None
    try:
        return state_dir.owner()
    except KeyError:
        return None


async def _check(restored: Restored, programs: Programs, *, everything: bool, output: Output) -> list[Check]:
    output.line("checking")
    scratch, entry = restored.scratch, restored.entry
    checks = await check_all(scratch, programs, entry, at_marker=None, only=DEEP if everything else QUICK)
    if everything:
        await scratch.stop()
        checks.append(await one("page_checksums", lambda: page_checksums(scratch, programs)))
        await scratch.start({}, recover=False)
        await scratch.wait_until("SELECT pg_is_in_recovery()", "f")
    return checks


def _show(restored: Restored, checks: Sequence[Check], output: Output) -> None:
    reached_at = restored.reached_at
    facts = {
        "backup": restored.entry.id,
        "target": str(restored.target),
        "reached_lsn": restored.reached_lsn,
        "last_commit": None if reached_at is None else reached_at.isoformat(),
        "data": str(restored.scratch.data),
        "seconds": restored.phases.total,
        **{f"seconds_{name}": seconds for name, seconds in restored.phases.seconds.items()},
    }
    if output.as_json:
        output.facts({**facts, "psql": _psql(restored), "checks": msgspec.to_builtins(checks)})
        return
    output.facts(facts)
    output.table([msgspec.to_builtins(check) for check in checks], ["name", "outcome", "said"])


def _psql(restored: Restored) -> str:
    return f"psql -h {restored.scratch.socket_folder} -U {restored.entry.superuser} {restored.entry.database}"


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.before_gap:
        return BEFORE_GAP
    try:
        return target_of({"to_time": arguments.to_time, "to_lsn": arguments.to_lsn})
    except ValueError as error:
        raise WharfdError(str(error)) from None


def _identity(settings: Settings, given: Path | None, state_dir: Path) -> Secret | None:
    if given is None and settings.identity is not None:
        try:
            settings.identity.reveal()
        except WharfdError as error:
            raise WharfdError(f"{error}; or give the file with --identity") from None
        return settings.identity
    path = given or state_dir / "identity.txt"
    try:
        return Secret(path.read_text())
    except FileNotFoundError:
        if given is not None:
            raise WharfdError(f"there is no file {given}") from None
        return None
    except OSError as error:
        raise WharfdError(f"{path} cannot be read: {error.strerror}") from None
