"""`wharfd plugin new`: a package with a route, a table, a queue, a schedule, a metric, an alert and tests.

What is written lies in `template/`; __NAME__, __TITLE__ and __DIST__ in it are filled in.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ..errors import WharfdError

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")


def write_plugin(name: str, into: Path) -> Path:
    """Write the package `wharfd-<name>` into a folder and return where it is.

    Raises `WharfdError` when the name does not fit or something is there already.
    """
    if not _NAME.match(name):
        raise WharfdError(f"{name!r} is no name for a plugin; use small letters, digits and _, as in loyalty")
    folder = into / f"wharfd-{name.replace('_', '-')}"
    if folder.exists():
        raise WharfdError(f"{folder} is there already; choose another name or another --into")
    words = {"NAME": name, "TITLE": name.replace("_", " ").capitalize(), "DIST": folder.name}
    _copy(files(__package__) / "template", folder, words)
    return folder


def _copy(source: Traversable, target: Path, words: dict[str, str]) -> None:
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir(), key=lambda e: e.name):
        name = _filled(entry.name, words).removesuffix(".txt")
        if entry.is_dir():
            _copy(entry, target / name, words)
        elif entry.name.endswith(".txt"):
            (target / name).write_text(_filled(entry.read_text(encoding="utf-8"), words), encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"__(NAME|TITLE|DIST)__", lambda match: words[match[1]], text)
