"""The pages of hooks and metrics, and the README's table of plugins."""

from __future__ import annotations

import inspect
import re

from .. import hookspecs
from ..declare import Metric
from ..registry import Registry

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


def metrics_page(registry: Registry) -> str:
    """Return the page of all declared metrics."""
    parts = [_METRICS_HEAD]
    for name in sorted(registry.host.plugins):
        rows = [
            f"| `wharfd_{name}_{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |"
            for _, metric in registry.of(Metric, name)
        ]
        if rows:
            head = [f"## {name}", "", "| name | kind | labels | meaning |", "|---|---|---|---|"]
            parts.append("\n".join([*head, *rows, ""]))
    return "\n".join(parts)


def with_plugin_table(readme: str, registry: Registry) -> str:
    """Return the README with its table of plugins as it must be."""
    rows = []
    for name, plugin in sorted(registry.host.plugins.items()):
        summary = (inspect.getdoc(plugin.module) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| [{name}](plugins/wharfd_{name}/README.md) | {summary} |")
    table = "\n".join(["| plugin | what it does |", "|---|---|", *rows])
    return _TABLE.sub(lambda match: match[1] + table + match[2], readme)
