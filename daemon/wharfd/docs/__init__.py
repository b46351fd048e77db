"""The pages that are written from the code: hooks, metrics, options, the API, the plugins, the example.

`wharfd docs --write` writes them into a checkout, `wharfd docs --check` says which are stale.
"""

from __future__ import annotations

from pathlib import Path

from ..config.example import example_text
from .api import api_page
from .declared import hooks_page, metrics_page, with_plugin_table
from .options import options_page
from .shipped import shipped_registry


def generated(root: Path) -> dict[Path, str]:
    """Return every generated file of a checkout with the text it must have."""
    registry = shipped_registry()
    return {
        root / "config" / "example.toml": example_text(),
        root / "docs" / "api.md": api_page(registry),
        root / "docs" / "configure.md": options_page(registry),
        root / "docs" / "hooks.md": hooks_page(),
        root / "docs" / "metrics.md": metrics_page(registry),
        root / "README.md": with_plugin_table((root / "README.md").read_text(encoding="utf-8"), registry),
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
