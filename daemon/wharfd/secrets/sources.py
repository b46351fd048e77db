"""Where a secret in the configuration comes from: a file, the environment, a systemd credential, or the text.

Only reads; the configuration builder puts the path of the setting in front of what is raised here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SecretUnreadable
from .smallfile import read_small_file
from .value import Secret

MAX_SECRET_BYTES = 64 * 1024  # a PEM chain fits; a log file named by mistake does not

# systemd 252 hides credentials from ExecReload= behind a folder that nobody may enter.
FOR_THE_DAEMON_ALONE = "only the daemon itself can read it"
_FORMS = 'write "…", { file = "…" }, { env = "…" } or { credential = "…" }'


@dataclass(frozen=True)
class SecretReading:
    """A secret, and what is worrying about the place it came from (empty when nothing is)."""

    secret: Secret
    worry: str = ""


def resolve_secret(
    value: object,
    *,
    environ: Mapping[str, str],
    credentials_dir: Path | None,
) -> Secret:
    """Return the secret that a configuration value stands for.

    Raises `SecretUnreadable` with a sentence that names the file, variable or credential and the way out.
    """
    return read_secret(value, environ=environ, credentials_dir=credentials_dir).secret


def read_secret(
    value: object,
    *,
    environ: Mapping[str, str],
    credentials_dir: Path | None,
) -> SecretReading:
    """Do what `resolve_secret` does, and say as well when others on the machine can read the file.

    That is a worry and not a refusal: container platforms mount secrets as 0444 in a folder of their own.
    """
    if isinstance(value, Secret):
        return SecretReading(value)
    if isinstance(value, str):
        return SecretReading(_checked(value.encode(), "the text"))
    if not isinstance(value, Mapping) or len(value) != 1:
        raise SecretUnreadable("not a secret", _FORMS)
    ((kind, name),) = value.items()
    if not isinstance(name, str) or not name or "\0" in name:
        raise SecretUnreadable(f"{kind!s}: expected a name", _FORMS)
    if kind == "file":
        return _from_file(Path(name))
    if kind == "env":
        return SecretReading(_from_environment(name, environ))
    if kind == "credential":
        return SecretReading(_from_credential(name, credentials_dir))
    raise SecretUnreadable(f"{kind!s} is not a place a secret can come from", _FORMS)


def _from_file(path: Path) -> SecretReading:
    if not path.is_absolute():
        raise SecretUnreadable(f"file {str(path)!r} is relative", "write its whole path, from /")
    raw, mode = _read(path, f"file {str(path)!r}")
    worry = ""
    if mode & 0o077:
        worry = (
            f"file {str(path)!r} can be read or changed by others (mode {stat.S_IMODE(mode):04o}); "
            f"run `chmod 600 {path}`"
        )
    return SecretReading(_checked(raw, f"file {str(path)!r}"), worry)


def _from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    if name not in environ:
        raise SecretUnreadable(
            f"environment variable {name} is not set", "set it where wharfd is started, or use { file = … }"
        )
    return _checked(os.fsencode(environ[name]), f"environment variable {name}")


def _from_credential(name: str, folder: Path | None) -> Secret:
    if "/" in name or name in (".", ".."):
        raise SecretUnreadable(f"credential {name!r} is not a plain name", "write the name without a folder")
    way_out = (
        f"add LoadCredential={name}:/path/to/file to the unit, or use {{ file = … }}; for a command on a "
        "terminal, CREDENTIALS_DIRECTORY names the folder of such files"
    )
    if folder is None:
        raise SecretUnreadable(f"credential {name!r}: wharfd was started without credentials", way_out)
    path = folder / name
    try:
        path.stat()
    except PermissionError:
        raise SecretUnreadable(f"credential {name!r} is not for this process", FOR_THE_DAEMON_ALONE) from None
    except OSError:
        raise SecretUnreadable(f"credential {name!r} was not handed to wharfd by systemd", way_out) from None
    raw, _ = _read(path, f"credential {name!r}")
    return _checked(raw, f"credential {name!r}")


def _read(path: Path, place: str) -> tuple[bytes, int]:
    try:
        raw, mode = read_small_file(path, MAX_SECRET_BYTES)
    except FileNotFoundError:
        raise SecretUnreadable(f"{place} does not exist", "create it, or correct the path") from None
    except OSError as exc:
        raise SecretUnreadable(
            f"{place} cannot be read: {exc.strerror}",
            f"let the user wharfd runs as (uid {os.geteuid()}) read it",
        ) from None
    if raw is None:
        raise SecretUnreadable(f"{place} is not a regular file", "name a file that holds the secret alone")
    return raw, mode


def _checked(raw: bytes, place: str) -> Secret:
    if len(raw) > MAX_SECRET_BYTES:
        raise SecretUnreadable(
            f"{place} is longer than {MAX_SECRET_BYTES} bytes", "name a file that holds the secret alone"
        )
    # Editors and `echo` end a file with one newline that nobody means to be part of the secret.
    raw = raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw
    if not raw:
        raise SecretUnreadable(f"{place} is empty", "put the secret there, or remove the setting")
    return Secret(raw)
