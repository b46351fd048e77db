"""What goes along with a backup: tables as CSV for other programs, and the files beside the database."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from wharfd import Packing, WharfdError, pack, quoted

from ..model.catalogue import Part
from .programs import Output, Programs
from .storehouse import Storehouse

_TABLE = re.compile(r"^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")
_MAX_FILE_BYTES = 16 << 20
_KEY_WORDS = ("AGE-SECRET-KEY-", "PRIVATE KEY-----")
_KEY_NAMES = ("master.key", "admin.token", "identity")


class WillNotKeep(WharfdError):
    """A file is not put into a backup."""


def check_table(table: str) -> str:
    """Return the name of a table, `schema.table`; raises ValueError."""
    if not _TABLE.match(table):
        raise ValueError(f"{table!r} is not written schema.table")
    return table


async def pack_csv(
    programs: Programs, dsn: str, table: str, backup_id: str, storehouse: Storehouse, packing: Packing
) -> Part:
    """Put a table beside the backup as CSV with a heading, and return its part."""
    key = f"backups/{backup_id}.{check_table(table)}.csv{packing.suffix}"

    def write(output: Output) -> Part:
        with storehouse.first.writing(key) as file:
            packed = pack(output, file, packing)
            output.finish()
        return Part("csv", key, packed.bytes_out, packed.sha256, packed.bytes_in, table)

    copy = f"COPY (SELECT * FROM {quoted(table)} ORDER BY 1) TO STDOUT WITH (FORMAT csv, HEADER)"
    options = ["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-c", copy]
    return await programs.stream("psql", options, write, dsn=dsn)


def pack_files(
    files: Sequence[Path],
    backup_id: str,
    storehouse: Storehouse,
    packing: Packing,
    *,
    text: tuple[str, str] | None = None,
) -> Part:
    """Put configuration files beside the backup, and `text`, a name and what it holds.

    Raises `WillNotKeep` for a key, which never goes along.
    """
    key = f"backups/{backup_id}.files.tar{packing.suffix}"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for path in files:
            archive.addfile(_member(path, data := _harmless(path)), io.BytesIO(data))
        if text is not None:
            data = _keyless(text[0], text[1].encode())
            archive.addfile(_member(Path(text[0]), data), io.BytesIO(data))
    tar.seek(0)
    with storehouse.first.writing(key) as file:
        packed = pack(tar, file, packing)
    return Part("files", key, packed.bytes_out, packed.sha256, packed.bytes_in)


def _member(path: Path, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(str(path.absolute()).lstrip("/"))
    member.size, member.mode = len(data), 0o600
    return member


def _harmless(path: Path) -> bytes:
    if path.suffix == ".key" or any(word in path.name for word in _KEY_NAMES):
        raise WillNotKeep(f"{path} looks like a key; keys stay out of backups and lie in escrow")
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise WillNotKeep(f"{path} is larger than 16 MiB; only configuration goes along with a backup")
        data = path.read_bytes()
    except OSError as error:
        raise WillNotKeep(f"{path} cannot be read: {error.strerror}") from None
    return _keyless(str(path), data)


def _keyless(name: str, data: bytes) -> bytes:
    if any(word.encode() in data for word in _KEY_WORDS):
        raise WillNotKeep(f"{name} holds a secret key; keys stay out of backups and lie in escrow")
    return data
