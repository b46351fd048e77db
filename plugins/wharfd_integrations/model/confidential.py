"""The configuration of an integration: what of it is secret is taken out, sealed apart, and never shown.

A value is secret when its name says so (`password`, `apiKey`, `client_secret` …) or when it looks like a
credential by itself (a URL with a password, one of our own keys). It is replaced by `HIDDEN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wharfd import names_a_secret, redact_text

HIDDEN = "**hidden**"
MOST_BYTES = 32 * 1024
DEEPEST = 6

_OURS = ("whk_", "whs_", "whsec_")

Secrets = dict[str, Any]


def split(config: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[dict[str, Any], Secrets]:
    """Return the configuration with its secrets hidden, and the secrets by their path.

    `HIDDEN` where a secret was stays what it was: it is looked up in `kept`, the secrets so far. Raises
    ValueError for a configuration that is nested too deeply or hides something that was never there.
    """
    secrets: Secrets = {}
    shown = {name: _shown(value, name, _escaped(name), secrets, kept, 1) for name, value in config.items()}
    return shown, secrets


def join(shown: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as it was given, its secrets in their places."""
    return {name: _joined(value, _escaped(name), secrets) for name, value in shown.items()}


def _shown(value: Any, name: str, path: str, secrets: Secrets, kept: Mapping[str, Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"{path}: nested deeper than {DEEPEST} levels")
    if "\0" in name or (isinstance(value, str) and "\0" in value):
        where = path.replace("\0", "\\0")
        raise ValueError(f"{where}: holds the zero character, which the database cannot keep")
    if value == HIDDEN and isinstance(value, str):
        if path not in kept:
            raise ValueError(f"{path}: is {HIDDEN!r}, but no secret is kept there; give its value")
        secrets[path] = kept[path]
        return HIDDEN
    if value is not None and not isinstance(value, bool) and (names_a_secret(name) or _looks_secret(value)):
        secrets[path] = value
        return HIDDEN
    if isinstance(value, dict):
        return {
            inner: _shown(item, inner, f"{path}/{_escaped(inner)}", secrets, kept, depth + 1)
            for inner, item in value.items()
        }
    if isinstance(value, list):
        return [
            _shown(item, name, f"{path}/{number}", secrets, kept, depth + 1)
            for number, item in enumerate(value)
        ]
    return value


def _joined(value: Any, path: str, secrets: Mapping[str, Any]) -> Any:
    if value == HIDDEN and isinstance(value, str):
        return secrets.get(path)
    if isinstance(value, dict):
        return {inner: _joined(item, f"{path}/{_escaped(inner)}", secrets) for inner, item in value.items()}
    if isinstance(value, list):
        return [_joined(item, f"{path}/{number}", secrets) for number, item in enumerate(value)]
    return value


def _looks_secret(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return value.startswith(_OURS) or redact_text(value, limit=len(value) + 1) != value


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
