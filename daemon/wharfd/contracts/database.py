"""The database server behind `ctx.db`, for plugins that look after it as a whole: backups, drills, dumps.

A plugin that only has tables needs none of this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from .services import ServiceKey

if TYPE_CHECKING:
    from ..db.embedded import Binaries, Confinement

Role = Literal["app", "owner", "backup", "superuser"]


class DatabaseServer(Protocol):
    """The PostgreSQL that the daemon works on, its own or a given one."""

    @property
    def data_dir(self) -> Path | None:
        """The data folder of the embedded server; None for a given one, whose files are not ours."""
        ...

    def dsn(self, role: Role) -> str:
        """Return the URL to connect with; it may hold a password and goes into no log.

        A given server has the roles that are configured: `backup` and `superuser` are then the owner.
        """
        ...

    async def programs(self) -> tuple[Binaries, Confinement]:
        """Return PostgreSQL's programs on this machine, and how to start a server with them.

        The embedded server's own; for a given one those that `[database] bin_dir` names or that are found.
        Raises `EmbeddedPostgresRefused` when there are none.
        """
        ...


DATABASE_SERVER: ServiceKey[DatabaseServer] = ServiceKey("database_server")
