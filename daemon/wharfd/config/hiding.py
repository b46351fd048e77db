"""The configuration's text without its secrets, for what leaves the machine: backups, reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomli

from ..redaction import HIDDEN, names_a_secret
from ..secrets import Secret


def hide_secrets(text: str, settings: Iterable[object]) -> str:
    """Return the text with every secret hidden that stands in it.

    Secret is what any of `settings` holds as a `Secret`, and every value of the text whose name says so:
    the table of a plugin that could not be loaded has no typed settings.
    """
    found = {*_of_settings(settings), *_named(tomli.loads(text))}
    for secret in sorted(found, key=len, reverse=True):  # one may be part of another
        text = text.replace(secret, HIDDEN)
    return text


def _of_settings(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        raw = value.reveal_bytes().decode("utf-8", "replace").strip()
        if raw:
            yield raw
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _of_settings(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _of_settings(inner)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for inner in value:
            yield from _of_settings(inner)


def _named(value: Any, *, secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        # { file = … }, { env = … } and { credential = … } say where a secret is, and are none.
        elsewhere = set(value) & {"file", "env", "credential"}
        for name, inner in value.items():
            yield from _named(inner, secret=not elsewhere and (secret or names_a_secret(name)))
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, secret=secret)
    elif secret and isinstance(value, str) and value:
        yield value
