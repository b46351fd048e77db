"""The pages that are written from the code: hooks, metrics, the table of plugins, the example configuration.

`wharfd docs --write` writes them into a checkout, `wharfd docs --check` says which are stale.
"""

from __future__ import annotations

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

from . import hookspecs
from .config.example import example_text
from .declare import Metric
from .loading import LoadedPlugin, PluginHost

_TABLE = re.compile(r"(<!-- plugins -->\n).*?(\n<!-- /plugins -->)", re.DOTALL)

_HOOKS_HEAD = """\
# Hooks

Every hook a plugin can implement, with its contract; written from `wharfd.hookspecs` by `make docs`. A hook
is a function of the plugin's package marked with `wharfd.hookimpl`, and takes only the arguments it names.
"""

_METRICS_HEAD = """\
# Metrics

What `/metrics` shows of the shipped plugins, beside the metrics of the process, the event loop, HTTP
(`wharfd_http_…`) and ingest (`wharfd_ingest_…`); written from their declarations by `make docs`.
"""


def generated(root: Path) -> dict[Path, str]:
    """Return every generated file of a checkout with the text it must have."""
    return {
        root / "config" / "example.toml": example_text(),
        root / "docs" / "hooks.md": hooks_page(),
        root / "docs" / "metrics.md": metrics_page(),
        root / "README.md": with_plugin_table((root / "README.md").read_text(encoding="utf-8")),
    }


def stale(root: Path) -> list[Path]:
    """Return the generated files that differ from what they must be."""
    return [
        path
        for path, text in generated(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def write(root: Path) -> list[Path]:
    """Write what is stale and return it."""
    changed = stale(root)
    texts = generated(root)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path], encoding="utf-8")
    return changed


def hooks_page() -> str:
    """Return the page of all hooks, from their docstrings."""
    parts = [_HOOKS_HEAD]
    for name, function in vars(hookspecs).items():
        if inspect.isfunction(function) and hasattr(function, "wharfd_spec"):
            signature = ", ".join(inspect.signature(function).parameters)
            prefix = "async " if inspect.iscoroutinefunction(function) else ""
            first, *rest = (inspect.getdoc(function) or "").splitlines()
            facts = [re.sub(r"^([A-Z][a-z ]+):", r"- **\1**:", line) for line in rest if line]
            parts.append("\n".join([f"## `{prefix}{name}({signature})`", "", first, "", *facts, ""]))
    return "\n".join(parts)


def metrics_page() -> str:
    """Return the page of all declared metrics."""
    parts = [_METRICS_HEAD]
    for name, plugin in _shipped().items():
        metrics = [
            value for value in plugin.declared.get("register_metrics", ()) if isinstance(value, Metric)
        ]
        if metrics:
            rows = [
                f"| `wharfd_{name}_{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in metrics
            ]
            parts.append(
                "\n".join(
                    [f"## {name}", "", "| name | kind | labels | meaning |", "|---|---|---|---|", *rows, ""]
                )
            )
    return "\n".join(parts)


def with_plugin_table(readme: str) -> str:
    """Return the README with its table of plugins as it must be."""
    rows = []
    for name, plugin in _shipped().items():
        summary = (inspect.getdoc(plugin.module) or "").split("\n")[0]
        rows.append(f"| [{name}](plugins/wharfd_{name}/README.md) | {summary} |")
    table = "\n".join(["| plugin | what it does |", "|---|---|", *rows])
    return _TABLE.sub(lambda match: match[1] + table + match[2], readme)


def _shipped() -> dict[str, LoadedPlugin]:
    """Load the plugins that come with wharfd, with what they declare under default settings."""
    host = PluginHost()
    found = {entry.name: entry for entry in entry_points(group="wharfd.plugins")}
    for name, entry in sorted(found.items()):
        if not entry.value.startswith(f"wharfd_{name}"):
            continue
        plugin = LoadedPlugin(name, "wharfd", module=entry.load())
        host.add(plugin)
        kind = host.call(name, "register_settings")
        try:
            plugin.settings = None if kind is None else kind()
        except TypeError:
            continue  # a plugin with required settings has nothing to declare without them
        metrics = host.call(name, "register_metrics", settings=plugin.settings)
        plugin.declared["register_metrics"] = tuple(metrics or ())
    return host.plugins
