"""The floors of docs/architecture.md: nothing imports upward, nothing in a circle, plugins stand apart."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

# Every file is read once, so by one worker.
pytestmark = pytest.mark.xdist_group("floors")

ROOT = Path(__file__).parents[2]
CORE = ROOT / "daemon" / "wharfd"
PLUGINS = ROOT / "plugins"

# Each line is a floor; a module may import its own floor and those above its line here (below it in the house).
FLOORS = [
    {
        "errors",
        "clock",
        "spans",
        "ids",
        "contracts",
        "redaction",
        "log",
        "log_fields",
        "log_output",
        "log_journald",
        "breaker",
    },
    {"systemd", "stalls", "watchdog", "sockets"},
    {"declare", "secrets"},
    {"metrics", "config"},
    {"db", "redis", "state", "storage"},
    {"keystore", "cache", "ratelimit", "audit", "ingest", "work", "health"},
    {"events", "schedule", "http"},
    {"context", "hookspecs"},
    {"loading", "registry", "supervisor", "scaffold"},
    {"bench"},
    {"opening", "machinery", "keeping"},
    {"life", "watching", "doctor", "upkeep"},
    {"core_routes", "importing"},
    {"intake"},
    {"front", "reload", "sources"},
    {"rehearsal"},
    {"app"},
    {"cli", "docs"},
    {"testing", "__main__", "__init__"},
]
LEVEL = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules(root):
    return sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path, root):
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path, root):
    """Return the absolute names of what `path` imports when it runs (not for types alone)."""
    return tuple(_imports(path, root))


def _imports(path, root):
    package = name_of(path, root).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def part(name):
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def test_every_core_module_stands_on_a_known_floor():
    unknown = {part(name_of(path, CORE.parent)) for path in modules(CORE)} - set(LEVEL)
    assert not unknown, f"give {unknown} a floor in {__file__} and in docs/architecture.md"


def test_nothing_imports_upward():
    upward = [
        f"{path} imports {imported}, a floor above it"
        for path in modules(CORE)
        for imported in imports_of(path, CORE.parent)
        if imported.startswith("wharfd.") and part(imported) in LEVEL
        if LEVEL[part(imported)] > LEVEL[part(name_of(path, CORE.parent))]
    ]
    assert not upward


def test_no_two_modules_import_each_other_in_a_circle():
    names = {name_of(path, CORE.parent) for path in modules(CORE)}
    graph = {
        name_of(path, CORE.parent): {
            i for i in imports_of(path, CORE.parent) if i in names and i != name_of(path, CORE.parent)
        }
        for path in modules(CORE)
        if path.name != "__init__.py"
    }
    done, trail = set(), []

    def visit(name):
        assert name not in trail, "circle: " + " → ".join([*trail[trail.index(name) :], name])
        if name in done or name not in graph:
            return
        trail.append(name)
        for other in graph[name]:
            visit(other)
        trail.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_a_plugin_imports_itself_and_public_names_only():
    public = ("wharfd.contracts", "wharfd.testing")
    imports = [(path, name) for path in modules(PLUGINS) for name in imports_of(path, PLUGINS)]
    siblings = [
        f"{path} imports its sibling {imported}"
        for path, imported in imports
        if imported.startswith("wharfd_") and imported.split(".")[0] != path.relative_to(PLUGINS).parts[0]
    ]
    assert not siblings
    private = [
        f"{path} imports {imported}, which is not public; take it from wharfd or wharfd.contracts"
        for path, imported in imports
        if imported.startswith("wharfd.") and not imported.startswith(public) and imported.count(".") > 1
    ]
    assert not private


def test_asyncio_is_known_to_the_bridge_alone():
    knowing = {
        path.relative_to(ROOT).as_posix()
        for root, top in ((CORE.parent, CORE), (PLUGINS, PLUGINS))
        for path in modules(top)
        if {name.split(".")[0] for name in imports_of(path, root)} & {"asyncio", "trio_asyncio"}
    }
    assert knowing == {"daemon/wharfd/db/bridge.py"}, "go through wharfd.db's bridge"


def test_loading_the_commands_loads_no_daemon():
    """Whoever types a command waits for what it needs, and not for what a daemon is made of."""
    heavy = "asyncpg cryptography prometheus_client quart redis structlog trio"
    ask = f"import sys, wharfd.cli.commands; print(*sorted(set({heavy!r}.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_daemon_without_redis_loads_no_client_of_it():
    ask = "import sys, wharfd.app; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_source_roots_hold_no_init():
    assert not (ROOT / "daemon" / "__init__.py").exists()
    assert not (ROOT / "plugins" / "__init__.py").exists()
