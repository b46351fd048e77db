"""The rules every plugin keeps, as a test class to subclass:

class TestLoyalty(PluginContract):
    plugin = wharfd_loyalty
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import tomli

from ..config import load_configuration
from ..config.example import toml_literal
from ..db import Database, sql
from ..db.migrations import apply
from ..declare import Migrations
from ..loading import LoadedPlugin, PluginHost
from ..registry import Registry, collect
from ..supervisor import State
from .running import DaemonFactory

HEADINGS = [
    "## What it does",
    "## Options",
    "## Routes",
    "## Tables",
    "## Work and schedules",
    "## Events",
    "## Metrics and alerts",
    "## When it breaks",
]
_STRANGERS = sql(
    "contract.strangers",
    """SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'wharfd', $1)""",
)


class PluginContract:
    """What wharfd expects of a plugin. `config` is what its table needs beyond defaults, as TOML."""

    plugin: ClassVar[ModuleType]
    config: ClassVar[str] = ""

    @pytest.fixture
    def name(self) -> str:
        """The plugin's name, as its table is called."""
        return self.plugin.__name__.removeprefix("wharfd_")

    @pytest.fixture
    def registry(self, name: str) -> Registry:
        """What the plugin declares."""
        host = PluginHost()
        host.add(LoadedPlugin(name, "the test", module=self.plugin))
        registry, problems = collect(host, load_configuration(f"[plugins.{name}]\n{self.config}", {}))
        real = [p for p in problems if "needs the service" not in p.what]
        assert not real, "\n".join(map(str, real))
        assert host.plugins[name].error is None
        return registry

    def test_its_hooks_fit_and_its_declarations_hold(self, registry: Registry) -> None:
        """Every hook is known, takes known arguments and returns what it must."""
        assert registry.order

    def test_its_docstring_says_what_it_does(self) -> None:
        """The package opens with a sentence."""
        assert (inspect.getdoc(self.plugin) or "").split("\n")[0].endswith(".")

    def test_its_readme_has_the_headings_in_order(self) -> None:
        """Whoever knows one plugin's page knows all of them."""
        text = (self._folder / "README.md").read_text(encoding="utf-8")
        found = [line for line in text.splitlines() if line.startswith("## ")]
        assert [heading for heading in found if heading in HEADINGS] == HEADINGS

    def test_its_example_shows_every_option_with_its_default(self, registry: Registry, name: str) -> None:
        """`example.toml` is complete and changes nothing."""
        settings = registry.host.plugins[name].settings
        if settings is None:
            return
        text = (self._folder / "example.toml").read_text(encoding="utf-8")
        for field in dataclasses.fields(settings):
            option = field.name.rstrip("_")
            lines = [
                ln
                for ln in text.splitlines()
                if ln.lstrip("# ").startswith((f"{option} =", f"[plugins.{name}.{option}"))
            ]
            assert lines, f"example.toml does not show {option}"
            if field.default not in (dataclasses.MISSING, None) and not field.metadata.get("example"):
                assert f"{option} = {toml_literal(field.default)}" in lines[0], f"{option}: default differs"
        tomli.loads(text)

    def test_it_imports_public_names_only(self) -> None:
        """A plugin takes what it needs from `wharfd` and `wharfd.contracts`."""
        for path in self._folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    module = node.module
                    allowed = module in ("wharfd", "wharfd.testing") or module.startswith("wharfd.contracts")
                    assert not module.startswith("wharfd.") or allowed, f"{path.name} imports {module}"

    async def test_its_migrations_stay_in_its_own_schema(
        self, db: Database, registry: Registry, name: str
    ) -> None:
        """They apply to a fresh database, once, and touch nothing of anybody else."""
        declared = registry.of(Migrations)
        migrated = await apply(db, declared)
        assert not migrated.failed, migrated.failed
        assert not (await apply(db, declared)).applied
        assert [row[0] for row in await db.owner.fetch(_STRANGERS, name)] == []

    async def test_it_starts_stops_and_starts_again(
        self, daemon: DaemonFactory, name: str, tmp_path: Path
    ) -> None:
        """It runs beside nothing but the core, and leaves nothing behind that hinders the next start."""
        table = f"[plugins.{name}]\n{self.config}"
        settings: Any = None
        for _ in range(2):
            async with daemon(
                plugins={name: self.plugin}, config=table, settings=settings, state_dir=tmp_path / "contract"
            ) as d:
                assert d.state(name) is State.RUNNING, d.running.supervisor.plugins[name].last_error
                settings = d.settings

    @property
    def _folder(self) -> Path:
        assert self.plugin.__file__ is not None
        return Path(self.plugin.__file__).parent
