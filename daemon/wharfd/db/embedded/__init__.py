"""A PostgreSQL of the daemon's own: no server to install, no password, no port.

    async with EmbeddedPostgres(state_dir, bin_dir=None, log=log).running(nursery) as server:
        server.dsn("app")

What an operator has to know of it stands in `docs/embedded-postgres.md`.
"""

from __future__ import annotations

from .binaries import Binaries, find_binaries
from .confinement import Confinement, choose_confinement
from .server import EmbeddedPostgres, Role, Server

__all__ = [
    "Binaries",
    "Confinement",
    "EmbeddedPostgres",
    "Role",
    "Server",
    "choose_confinement",
    "find_binaries",
]
