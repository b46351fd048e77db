"""What an operator is told when one of PostgreSQL's programs fails: a sentence, and the log's last lines."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...errors import EmbeddedPostgresError

_TAIL_BYTES = 8192
_TAIL_LINES = 12
# What PostgreSQL says, and what that means for whoever has to act; the first that occurs is meant.
_MEANINGS = (
    ("No space left on device", "the disk is full", "free some space"),
    ("Disk quota exceeded", "the disk quota is used up", "free some space or raise the quota"),
    ("Read-only file system", "the disk is mounted read-only", "mount it for writing"),
    ("could not create any Unix-domain sockets", "its socket cannot be made", "check the socket's folder"),
    ("could not bind Unix address", "its socket cannot be made", "check the socket's folder"),
    ("Address already in use", "its socket is in use", "stop the other server"),
    ("invalid value for parameter", "it does not accept a setting", "correct [database] settings"),
    ("unrecognized configuration parameter", "it does not know a setting", "correct [database] settings"),
    ("configuration file", "it does not accept its settings", "correct [database] settings"),
    ("could not map anonymous shared memory", "there is too little memory", "lower shared_buffers"),
    ("Cannot allocate memory", "there is too little memory", "lower shared_buffers"),
    ("Permission denied", "it may not use a file or folder", "give the folder to the user who runs wharfd"),
    ("invalid permissions", "a folder has wrong permissions", "chmod 0700 the data folder"),
    ("could not locate a valid checkpoint record", "its data is damaged", "restore a backup"),
    ("page verification failed", "its data is damaged", "restore a backup"),
)


def last_lines(path: Path) -> list[str]:
    """Return the last lines of a log file; none when there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-_TAIL_LINES:]


def newest(folder: Path, since: float) -> Path | None:
    """Return the newest log file in `folder` that was written after `since` (wall clock seconds)."""
    try:
        files = [(path.stat().st_mtime, path) for path in folder.glob("*.log")]
    except OSError:
        return None
    recent = [(time, path) for time, path in files if time >= since]
    return max(recent)[1] if recent else None


def failure(what: str, folder: Path, lines: Iterable[str]) -> EmbeddedPostgresError:
    """Make the error that says that `what` failed in `folder`, why, and what to do about it."""
    shown = [line for line in lines if line.strip()]
    text = "\n".join(shown)
    for sign, meaning, way_out in _MEANINGS:
        if sign in text:
            sentence = f"{what} in {folder}: {meaning}; {way_out}"
            break
    else:
        sentence = f"{what} in {folder}; its own words follow" if shown else f"{what} in {folder}, silently"
    return EmbeddedPostgresError("\n".join([sentence, *(f"  {line}" for line in shown)]))
