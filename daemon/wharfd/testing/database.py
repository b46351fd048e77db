"""A database per test: cloned from a template that holds the migrations the test asks for.

`db` is a `Database` of the app role with `.owner` as the owner role, exactly as in production, so a missing
right shows up in the test. A test module that needs a plugin's tables overrides `migrations`:

    @pytest.fixture
    def migrations():
        return [("loyalty", Migrations("wharfd_loyalty"))]
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count

import pytest
import trio

from ..db import Bridge, Database, DatabaseSettings, open_bridge, open_database
from ..db.migrations import apply
from ..declare import Migrations
from .postgres import Cluster

Declared = Sequence[tuple[str, Migrations]]


class Templates:
    """The template databases of a test session, one per set of migrations."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: dict[tuple[tuple[str, Migrations], ...], str] = {}
        self._numbers = count(1)

    def settings(self, name: str) -> DatabaseSettings:
        """Return how to reach a database of the cluster as app and as owner."""
        return DatabaseSettings(
            url=self._cluster.dsn(name, "wharfd_app"),
            owner_url=self._cluster.dsn(name, "wharfd_owner"),
            application_name="wharfd-test",
        )

    def template(self, declared: Declared) -> str:
        """Return the template with these migrations, made on first use."""
        key = tuple(declared)
        if key not in self._made:
            name = f"wharfd_template_{next(self._numbers)}"
            self._cluster.psql("postgres", f"CREATE DATABASE {name} OWNER wharfd_owner")
            trio.run(self._migrate, name, key)
            self._made[key] = name
        return self._made[key]

    async def _migrate(self, name: str, declared: Declared) -> None:
        async with open_bridge() as bridge, open_database(bridge, self.settings(name)) as database:
            # Branches that are developed side by side leave holes; the daemon itself refuses them.
            done = await apply(database, declared, allow_holes=True)
        for error in done.failed.values():
            raise error

    def clone(self, declared: Declared) -> str:
        """Make a fresh database from the template and return its name."""
        template = self.template(declared)
        name = f"wharfd_test_{next(self._numbers)}"
        self._cluster.tell(
            f"CREATE DATABASE {name} OWNER wharfd_owner TEMPLATE {template} STRATEGY file_copy"
        )
        return name

    def drop(self, name: str) -> None:
        """Throw a database away, whoever is still connected."""
        self._cluster.tell(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def database_templates(postgres: Cluster) -> Templates:
    """The template databases of this session."""
    return Templates(postgres)


@pytest.fixture
def migrations() -> list[tuple[str, Migrations]]:
    """The plugins whose migrations `db` has besides the core's; override it where you need some."""
    return []


@pytest.fixture
def database_settings(
    database_templates: Templates, migrations: list[tuple[str, Migrations]]
) -> Iterator[DatabaseSettings]:
    """A fresh migrated database, as the settings to open it with."""
    name = database_templates.clone(migrations)
    yield database_templates.settings(name)
    database_templates.drop(name)


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """The bridge to asyncio, open for the test."""
    async with open_bridge() as opened:
        yield opened


@pytest.fixture
async def db(bridge: Bridge, database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    """A `Database` on a fresh migrated database, as the app role; `.owner` is the owner role."""
    async with open_database(bridge, database_settings) as database:
        yield database
