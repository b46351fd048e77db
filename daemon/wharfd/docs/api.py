"""`docs/api.md`: every endpoint of the core and of the shipped plugins, from the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

from ..core_routes import core_routes
from ..declare import Route
from ..http import BoundRoute
from ..http.openapi import build_document
from ..http.own_routes import own_routes
from ..http.settings import HttpSettings
from ..registry import Registry

_HEAD = """\
# API reference

Every endpoint of the core and of the plugins that come with wharfd; written from the OpenAPI document by
`make docs`. A running daemon serves its own, with your plugins and your providers' paths in it:
`/openapi.json`, and at `/docs` for reading. `docs/http-api.md` says what holds for all of them: credentials,
scopes, errors, cursors, `Idempotency-Key`, ETags.

*Scope* is what a caller must hold; – is open. *Takes* names the fields of the query (`?`), then the body.
Endpoints marked **key** know `Idempotency-Key`. Types stand at the end; in them
`?` marks a field that may be left out.
"""
_LIMITS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "exclusiveMinimum": "above {}",
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "default": "else `{}`",
}
_METHODS = ("get", "post", "put", "patch", "delete")


def api_page(registry: Registry) -> str:
    """Return the page of all endpoints, plugin by plugin, the core first."""
    document = _document(registry)
    aliases: dict[tuple[str, str], list[str]] = {}
    found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            operation = methods.get(method)
            if operation is None:
                continue
            of = operation.get("x-alias-of")
            if of is None:
                found.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
            else:
                aliases.setdefault((method.upper(), re.sub(r":path\}", "}", of)), []).append(path)
    names = _type_names(document["components"]["schemas"])
    parts = [_HEAD]
    for plugin in sorted(found, key=lambda name: (name != "core", name)):
        rows = [_row(*one, aliases.get(one[:2], []), names) for one in found[plugin]]
        head = [
            f"## {plugin}",
            "",
            "| call | what it does | scope | takes | answers |",
            "|---|---|---|---|---|",
        ]
        parts.append("\n".join([*head, *rows, ""]))
    parts.append("## Types\n")
    types = dict(_types(document["components"]["schemas"], names))
    linked = set(re.findall(r"\(#([^)]+)\)", "".join([*parts, *types.values()])))
    return "\n".join([*parts, *(text for name, text in types.items() if _anchor(name) in linked)])


def _document(registry: Registry) -> dict[str, Any]:
    """Describe what a daemon with all shipped plugins serves; nothing of it is ever called."""
    nothing = cast(Any, SimpleNamespace())
    own = own_routes(
        authentication=nothing, health=nothing, metrics=nothing, settings=HttpSettings(), document=lambda: b""
    )
    of_plugins = [
        BoundRoute(route, name, lambda: None) for name, route in registry.of(Route) if not route.page
    ]
    return build_document([*own, *core_routes(nothing), *of_plugins], [], version="")


def _row(
    method: str, path: str, operation: Mapping[str, Any], aliases: list[str], names: Mapping[str, str]
) -> str:
    call = "<br>".join([f"`{method} {path}`", *(f"or `{alias}`" for alias in aliases)])
    takes = [f"`?{one['name']}`" for one in operation["parameters"] if one["in"] == "query"]
    takes += [words for words in (_content(operation.get("requestBody"), names),) if words]
    takes += ["**key**" for one in operation["parameters"] if one["in"] == "header"]
    status, good = next(iter(operation["responses"].items()))
    answer = " ".join(part for part in (status, _content(good, names)) if part)
    old = " (old)" if operation.get("deprecated") else ""
    scope = f"`{operation['x-scope']}`" if "x-scope" in operation else "any" if operation["security"] else "–"
    return f"| {call} | {operation['summary']}{old} | {scope} | {', '.join(takes)} | {answer} |"


def _content(body: Mapping[str, Any] | None, names: Mapping[str, str]) -> str:
    for kind, content in (body or {}).get("content", {}).items():
        if kind != "application/json":
            return "bytes" if kind == "application/octet-stream" else str(kind)
        return _shown(content.get("schema", {}), names) or "JSON"
    return ""


def _types(schemas: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, name in sorted(names.items(), key=lambda pair: pair[1].lower()):
        schema = schemas[key]
        needed = schema.get("required", ())
        lines = [f"### {name}", ""]
        if words := " ".join(str(schema.get("description", "")).split()):
            lines += [words, ""]
        fields = schema.get("properties", {})
        if fields:
            lines += ["| field | is |", "|---|---|"]
        for field, part in fields.items():
            shown = _shown(part, names) or "anything"
            lines.append(f"| `{field}`{'' if field in needed else ' ?'} | {shown}{_limits(part)} |")
        yield name, "\n".join([*lines, ""] if fields else lines)


def _type_names(schemas: Mapping[str, Any]) -> dict[str, str]:
    """Return short names; two types of one name keep what tells them apart."""
    short = {key: re.sub(r"_(\w+)_$", r" of \1", key.rpartition(".")[2]) for key in schemas}
    return {
        key: name if list(short.values()).count(name) == 1 else f"{name} ({_plugin_of(key)})"
        for key, name in short.items()
    }


def _plugin_of(key: str) -> str:
    return ".".join(part.removeprefix("wharfd_") for part in key.split(".")[:-1] if part != "wharfd")


def _shown(schema: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if "$ref" in schema:
        name = names[schema["$ref"].rpartition("/")[2]]
        return f"[{name}](#{_anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_shown(one, names) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_shown(schema.get('items', {}), names) or 'anything'}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"table of {_shown(inner, names)}" if isinstance(inner, Mapping) and inner else "table"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    named = {"date-time": "time", "date": "date", "decimal": "decimal"}
    kind = str(schema.get("type", ""))
    return named.get(str(schema.get("format")), words.get(kind, kind))


def _limits(schema: Mapping[str, Any]) -> str:
    said = [words.format(json.dumps(schema[key])) for key, words in _LIMITS.items() if key in schema]
    return f", {', '.join(said)}" if said else ""


def _anchor(name: str) -> str:
    return re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")
