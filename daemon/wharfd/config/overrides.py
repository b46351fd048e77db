"""Environment variables that stand above the TOML file, kept from the systems wharfd replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ..errors import Problem


def _whole(text: str) -> int:
    return int(text)


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise ValueError
    return words[text.lower()]


# variable → where it goes, and what it must be
OVERRIDES: dict[str, tuple[tuple[str, ...], Callable[[str], Any], str]] = {
    "DATABASE_URL": (("database", "url"), str, "a URL"),
    "REDIS_URL": (("redis", "url"), str, "a URL"),
    "WEBHOOK_BATCH_SIZE": (("ingest", "batch_size"), _whole, "a whole number"),
    "WEBHOOK_BATCH_TIMEOUT": (("ingest", "batch_timeout_ms"), _whole, "a whole number of milliseconds"),
    "WEBHOOK_MAX_RETRIES": (("ingest", "max_retries"), _whole, "a whole number"),
    "WEBHOOK_RETRY_DELAY": (("ingest", "retry_delay_ms"), _whole, "a whole number of milliseconds"),
    "WEBHOOK_SIGNATURE_VALIDATION": (("plugins", "netbanx", "signature_validation"), _truth, "true or false"),
}


def apply_overrides(document: dict[str, Any], environ: Mapping[str, str]) -> list[Problem]:
    """Write the variables that are set into `document`; return what is wrong with them.

    A variable for a plugin counts only when that plugin has its table: an override enables nothing.
    """
    problems = []
    values = dict(environ)
    if "REDIS_URL" not in values and values.get("REDIS_HOST"):
        values["REDIS_URL"] = _redis_url(values)
    for name, (path, convert, expected) in OVERRIDES.items():
        text = values.get(name, "")
        if not text or (path[0] == "plugins" and path[1] not in document.get("plugins", {})):
            continue
        try:
            value = convert(text)
        except ValueError:
            problems.append(Problem(f"environment {name}", f"expected {expected}, got {text!r}"))
            continue
        table = document
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = value
    return problems


def _redis_url(values: Mapping[str, str]) -> str:
    password = values.get("REDIS_PASSWORD", "")
    secret = f":{quote(password, safe='')}@" if password else ""
    port, number = values.get("REDIS_PORT") or "6379", values.get("REDIS_DB") or "0"
    return f"redis://{secret}{values['REDIS_HOST']}:{port}/{number}"
