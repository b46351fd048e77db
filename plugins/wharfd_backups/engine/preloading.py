"""TLS for programs that were built without it, by a libpq that has it.

The PostgreSQL programs of a Python package carry no OpenSSL, and a managed server takes nothing but TLS. The
package `psycopg-binary` brings a libpq with OpenSSL; loaded first, it serves pg_dump as well.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from wharfd import WharfdError

_NEED = ("require", "verify-ca", "verify-full")


class NoTls(WharfdError):
    """The server asks for TLS, and PostgreSQL's programs here cannot do it."""


def wants_tls(dsn: str) -> bool:
    """Tell whether a URL insists on TLS."""
    return parse_qs(urlsplit(dsn).query).get("sslmode", [""])[-1] in _NEED


def tls_environment(dsn: str, program: Path, major: int) -> dict[str, str]:
    """Return what to put into a program's environment so that it can reach the server.

    Raises `NoTls` when it cannot.
    """
    if not dsn or not wants_tls(dsn) or has_tls(program):
        return {}
    library = libpq_with_tls()
    if library is None:
        raise NoTls(
            f"{program} was built without TLS, which the server asks for; install psycopg-binary beside "
            f"wharfd, or PostgreSQL {major} or newer on the system with [database] bin_dir naming it"
        )
    return {"LD_PRELOAD": str(library)}


@functools.cache
def has_tls(program: Path) -> bool:
    """Tell whether a program's own libpq can do TLS: it says so when asked for what it cannot."""
    done = subprocess.run(
        [str(program), "-w", "-d", "postgresql://127.0.0.1:1/none?sslmode=require&connect_timeout=1"],
        capture_output=True,
        check=False,
    )
    return b"SSL support is not compiled in" not in done.stderr


def libpq_with_tls() -> Path | None:
    """Return the libpq of psycopg-binary, None when it is not installed."""
    spec = importlib.util.find_spec("psycopg_binary")  # does not import it
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.with_name("psycopg_binary.libs")
    return next(iter(sorted(folder.glob("libpq-*.so*"))), None)
