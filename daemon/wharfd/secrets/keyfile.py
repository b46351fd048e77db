"""The file that holds the master key of a daemon to which none was given."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ..errors import MasterKeyError
from .keys import MasterKey, MasterKeys
from .smallfile import read_small_file
from .value import Secret

_MAX_BYTES = 16 * 1024


def load_or_make_master_key(path: Path) -> MasterKeys:
    """Return the keys in the file `path`, which is made with one new key (mode 0600) when it is missing.

    Of two daemons that make it at the same moment one wins and both get its key. The key is on disk before
    this returns, so nothing can be sealed with a key that a power cut takes away.
    """
    if not os.path.lexists(path):
        _make(path)
    return load_master_keys(path)


def load_master_keys(path: Path) -> MasterKeys:
    """Return the keys in the file; raises `MasterKeyError` when it is missing or open to others."""
    try:
        raw, mode = read_small_file(path, _MAX_BYTES)
    except FileNotFoundError:
        raise MasterKeyError(f"{path} is missing; restore it from where you keep it safe") from None
    except OSError as exc:
        raise MasterKeyError(
            f"{path} cannot be read: {exc.strerror}; give it to the user wharfd runs as (uid {os.geteuid()})"
        ) from None
    if raw is None:
        raise MasterKeyError(f"{path} is not a regular file; put the master key into one")
    if mode & 0o077:
        raise MasterKeyError(
            f"{path} is open to others (mode {stat.S_IMODE(mode):04o}); "
            f"run `chmod 600 {path}`, and rotate the key if somebody else may have read it"
        )
    return MasterKeys.parse(Secret(raw), place=str(path))


def _make(path: Path) -> None:
    """Write a new key beside the file, then link it into place: the file is whole or not there."""
    key = MasterKey.make()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    text = f"# wharfd master key {key.id}: without it every sealed secret is lost. Keep a copy elsewhere.\n"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as stream:
                stream.write(f"{text}{key.text()}\n")
                stream.flush()
                os.fsync(descriptor)
            try:
                os.link(draft, path)
            except FileExistsError:
                return  # another daemon was first; its key counts
        finally:
            os.unlink(draft)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise MasterKeyError(
            f"{path} cannot be made: {exc.strerror}; "
            f"let the user wharfd runs as (uid {os.geteuid()}) write to {path.parent}"
        ) from exc
