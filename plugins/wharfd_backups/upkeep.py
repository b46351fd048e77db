"""What the plugin holds while it runs: places, keys, programs, the receiver; and how each is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trio

from wharfd import Folder, PluginContext, Secret, open_place, recipient_of
from wharfd.contracts.database import DATABASE_SERVER, DatabaseServer

from .config import Settings
from .engine.keyring import Keyring, open_keyring
from .engine.pacing import Pace
from .engine.programs import ProgramFailed, Programs, programs_of
from .engine.receiving import Receiver
from .engine.storehouse import Storehouse
from .engine.taking import ServerFacts, server_facts
from .model.catalogue import Entry, Method
from .restoring.restore import Restored, Source

_MAY_REPLICATE = "SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user"


@dataclass
class Keeper:
    """Everything this plugin works with."""

    settings: Settings
    state_dir: Path
    server: DatabaseServer
    programs: Programs
    storehouse: Storehouse
    keyring: Keyring
    facts: ServerFacts
    method: Method
    receiver: Receiver | None = None
    mounts: dict[str, tuple[Restored, trio.CancelScope]] = field(default_factory=dict)

    @property
    def dsn(self) -> str:
        """Where backups are taken from."""
        return self.server.dsn("backup" if self.method == "physical" else "owner")

    @property
    def scratch(self) -> Path:
        """The folder of drills and mounts."""
        return self.settings.scratch or self.state_dir / "scratch"

    @property
    def incoming(self) -> Path:
        """The folder of the log as it is received."""
        return self.settings.incoming_in(self.state_dir)

    def pace(self) -> Pace:
        """Return how fast the next errand may go."""
        return Pace(self.settings.pace * 1e6)

    def openable(self, entries: list[Entry]) -> list[Entry]:
        """Return the backups that the identity here opens; after a change of keys the old ones are left out.

        All of them when it opens none: trying one then says why.
        """
        if self.identity is None:
            return entries
        ours = recipient_of(self.identity)
        return [entry for entry in entries if not entry.recipients or ours in entry.recipients] or entries

    def source(self, which: Literal["first", "second", "last"] = "last") -> Source:
        """Return where a restore takes everything from; `last` is the second place where there is one."""
        places = self.storehouse.places
        place = places[0] if which == "first" else places[-1]
        return Source(
            storehouse=self.storehouse, place=place, identity=self.identity, programs=self.programs,
            incoming=self.incoming if place is places[0] else None,
        )  # fmt: skip

    @property
    def identity(self) -> Secret | None:
        """What opens the backups here."""
        return self.keyring.identity


def open_storehouse(settings: Settings, state_dir: Path) -> Storehouse:
    """Return the places."""
    first = Folder(settings.folder or state_dir / "store")
    return Storehouse(first, None if settings.second is None else open_place(settings.second))


async def open_keeper(settings: Settings, state_dir: Path, server: DatabaseServer) -> Keeper:
    """Ask the server and the machine, and return everything there is to work with."""
    programs = await programs_of(server)
    method = await choose_method(settings, programs, server)
    return Keeper(
        settings=settings,
        state_dir=state_dir,
        server=server,
        programs=programs,
        storehouse=open_storehouse(settings, state_dir),
        keyring=await trio.to_thread.run_sync(open_keyring, settings, state_dir),
        facts=await server_facts(programs, server.dsn("backup")),
        method=method,
    )


async def choose_method(settings: Settings, programs: Programs, server: DatabaseServer) -> Method:
    """Return physical where the server lets us replicate, logical elsewhere, unless the operator said so."""
    if settings.method != "auto":
        return settings.method
    if server.data_dir is not None:
        return "physical"
    try:
        may = await programs.value(server.dsn("backup"), _MAY_REPLICATE)
    except ProgramFailed:
        return "logical"
    return "physical" if may == "t" else "logical"


def keeper_of(ctx: PluginContext[Any]) -> Keeper:
    """Return what the running plugin works with."""
    keeper: Keeper = ctx.state["keeper"]
    return keeper


def server_of(ctx: PluginContext[Any]) -> DatabaseServer:
    """Return the database server behind `ctx.db`."""
    return ctx.services.get(DATABASE_SERVER)
