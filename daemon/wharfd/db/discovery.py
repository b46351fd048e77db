"""Finding a package's migration files and checking them; no database here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise

from ..errors import MigrationError

_FILE = re.compile(r"^(\d{4})_([a-z][a-z0-9_]*)\.sql$")
_IGNORED = {"__init__.py", "__pycache__", "README.md"}
# Each file runs in a transaction of its own; a COMMIT inside would end it half way.
_OWN_TRANSACTION = re.compile(
    r"^\s*(begin|start\s+transaction|commit|rollback)(\s+(work|transaction))?\s*;",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_SQL = re.compile(r"--[^\n]*|/\*.*?\*/|\s|;", re.DOTALL)


@dataclass(frozen=True)
class Migration:
    """One file of one plugin."""

    plugin: str
    number: int
    name: str
    text: str = field(repr=False)
    checksum: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.plugin} {self.name}"


def checksum_of(text: str) -> str:
    """Return the checksum of a file's text; line endings do not count."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def discover(plugin: str, package: str, *, allow_holes: bool = False) -> tuple[Migration, ...]:
    """Return the migrations of `package` in order.

    Raises `MigrationError` for a wrong name, a number used twice, a hole, an empty file, a file that begins
    or commits a transaction itself. Branches that are developed side by side may `allow_holes`.
    """
    try:
        folder = files(package) / "migrations"
        entries = sorted(folder.iterdir(), key=lambda e: e.name) if folder.is_dir() else []
    except ModuleNotFoundError as error:
        raise MigrationError(
            f"{plugin}: the package {package!r} of its migrations cannot be found"
        ) from error
    if not entries:
        raise MigrationError(f"{plugin}: package {package!r} has no file migrations/0001_<words>.sql")
    found: list[Migration] = []
    for entry in entries:
        if entry.name in _IGNORED:
            continue
        match = _FILE.match(entry.name)
        if match is None:
            raise MigrationError(f"{plugin}: migrations/{entry.name} is not named NNNN_words.sql")
        found.append(_read(plugin, int(match[1]), entry.name.removesuffix(".sql"), entry.read_bytes()))
    for before, after in pairwise(found):
        if before.number == after.number:
            raise MigrationError(f"{plugin}: {before.name}.sql and {after.name}.sql have the same number")
    for expected, migration in enumerate(found, 1):
        if migration.number != expected and not allow_holes:
            raise MigrationError(f"{plugin}: migration {expected:04} is missing before {migration.name}.sql")
    return tuple(found)


def _read(plugin: str, number: int, name: str, data: bytes) -> Migration:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MigrationError(f"{plugin}: migration {name}.sql is not UTF-8") from error
    if not _NOT_SQL.sub("", text):
        raise MigrationError(f"{plugin}: migration {name}.sql is empty")
    if own := _OWN_TRANSACTION.search(text):
        raise MigrationError(
            f"{plugin}: migration {name}.sql holds {own[0].strip()!r}; it already runs in a transaction, "
            "take the line out"
        )
    return Migration(plugin, number, name, text, checksum_of(text))
