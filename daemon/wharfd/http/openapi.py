"""The OpenAPI 3.1 document, made from the declarations and nothing else.

msgspec makes the schemas; the rest is written here, because the routes are no Quart view functions and
quart-schema could only read those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import msgspec

from ..declare import Route
from .endpoint import BoundRoute, IngestMount
from .problems import ProblemDocument
from .reply import EventStream, Reply, Stream

_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(:path)?\}")
_REFERENCE = "#/components/schemas/{name}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The admin token, or an API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "wharfd_session",
        "description": "A browser session; writes also need the header X-CSRF-Token.",
    },
}
_ANY_OF_THEM: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}, {"session": []}]


def build_document(
    routes: Sequence[BoundRoute], mounts: Sequence[IngestMount], *, version: str
) -> dict[str, Any]:
    """Describe every route that is not hidden, every alias of it, and every ingest path."""
    shown = [bound for bound in routes if not bound.hidden]
    schemas = _Schemas([bound.route for bound in shown])
    paths: dict[str, dict[str, Any]] = {}
    for bound in shown:
        for position, path in enumerate(bound.route.paths):
            operation = _operation(bound, path, alias=position > 0, schemas=schemas)
            paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[bound.route.method.lower()] = operation
    for mount in mounts:
        for path in mount.paths:
            if "POST" in mount.methods:
                paths.setdefault(path, {})["post"] = _ingest_operation(mount, path)
    plugins = sorted({bound.plugin for bound in shown} | {mount.source for mount in mounts})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wharfd",
            "version": version,
            "description": "Errors are application/problem+json (RFC 9457). Lists page by cursor. "
            "Every answer carries X-Request-Id.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in plugins],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas.components, "securitySchemes": _SECURITY},
    }


class _Schemas:
    """The schemas of all types that routes name; a type msgspec cannot describe is shown as anything."""

    def __init__(self, routes: Iterable[Route]) -> None:
        wanted: list[Any] = [ProblemDocument]
        for route in routes:
            wanted += [one for one in (route.body, route.query, route.returns) if _is_described(one)]
        self._by_id: dict[int, dict[str, Any]] = {}
        self.components: dict[str, Any] = {}
        known = [one for one in wanted if _can_describe(one)]
        made, components = msgspec.json.schema_components(known, ref_template=_REFERENCE)
        self.components.update(components)
        self.components["Problem"] = self.components.pop("ProblemDocument")
        self._by_id = {id(type_): schema for type_, schema in zip(known, made, strict=True)}
        self._alive = wanted  # ids are only good while the types live

    def of(self, type_: Any) -> dict[str, Any]:
        """The schema of a type, as a reference where it has a name."""
        return self._by_id.get(id(type_), {})

    def resolve(self, type_: Any) -> Mapping[str, Any]:
        """The schema of a named type itself."""
        schema = self.of(type_)
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        found: Mapping[str, Any] = self.components.get(name, schema)
        return found


def _is_described(type_: Any) -> bool:
    return type_ is not None and type_ is not bytes and type_ not in (Reply, Stream, EventStream)


def _can_describe(type_: Any) -> bool:
    try:
        msgspec.json.schema_components([type_], ref_template=_REFERENCE)
    except Exception:  # whatever is wrong with one plugin's type, the document of the others stands
        return False
    return True


def _operation(bound: BoundRoute, path: str, *, alias: bool, schemas: _Schemas) -> dict[str, Any]:
    route = bound.route
    operation: dict[str, Any] = {
        "operationId": _operation_id(route.method, path),
        "summary": route.summary or _first_sentence(route.handler),
        "tags": [bound.plugin],
        "parameters": _parameters(route, path, schemas),
        "responses": _responses(bound, schemas),
        "security": [] if route.scope is None and not bound.signed_in else _ANY_OF_THEM,
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope
        operation["description"] = f"Needs the scope `{route.scope}`."
    if alias:
        operation["x-alias-of"] = route.path
    if route.deprecated:
        operation["deprecated"] = True
    body = _request_body(route, schemas)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _operation_id(method: str, path: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", _PARAMETER.sub(r"by_\1", path)).strip("_")
    return f"{method.lower()}_{words or 'root'}"


def _first_sentence(handler: Any) -> str:
    return (handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _parameters(route: Route, path: str, schemas: _Schemas) -> list[dict[str, Any]]:
    found = [
        {"name": match[1], "in": "path", "required": True, "schema": {"type": "string"}}
        for match in _PARAMETER.finditer(path)
    ]
    if route.query is not None:
        schema = schemas.resolve(route.query)
        required = schema.get("required", ())
        for name, part in schema.get("properties", {}).items():
            entry = {"name": name, "in": "query", "required": name in required, "schema": part}
            if "description" in part:
                entry["description"] = part["description"]
            found.append(entry)
    if route.idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes a retry safe: the same key gives the same answer for 24 hours.",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
    return found


def _request_body(route: Route, schemas: _Schemas) -> dict[str, Any] | None:
    if route.stream or route.body is bytes:
        return {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    if route.body is None:
        return None
    needed = type(None) not in get_args(route.body)
    return {"required": needed, "content": {"application/json": {"schema": schemas.of(route.body)}}}


def _responses(bound: BoundRoute, schemas: _Schemas) -> dict[str, Any]:
    route = bound.route
    if route.returns is EventStream:
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif route.returns is Stream:
        content = {"application/octet-stream": {"schema": {"type": "string"}}}
    elif route.returns is Reply:
        content = {}
    else:
        content = {"application/json": {"schema": schemas.of(route.returns)}}
    good: dict[str, Any] = {"description": "Done."}
    if route.status != 204 and content:
        good["content"] = content
    responses = {str(route.status): good}
    for status, words in _problems_of(bound):
        responses[status] = {"description": words, "content": _PROBLEM}
    return responses


def _problems_of(bound: BoundRoute) -> Iterable[tuple[str, str]]:
    route = bound.route
    takes_body = route.body is not None or route.stream
    if takes_body:
        yield "400", "The body is not JSON."
    if route.scope is not None or bound.signed_in:
        yield "401", "Credentials are missing or not good."
    if route.scope is not None:
        yield "403", "The caller does not hold the scope."
    if takes_body:
        yield "413", f"The body is larger than {route.max_body_bytes} bytes."
    if takes_body or route.query is not None:
        yield "422", "Some values are wrong; errors names each."
    if route.rate is not None:
        yield "429", "Too many requests; Retry-After says when to come back."
    yield "503", "The plugin or something it needs is not running; Retry-After says when to come back."


def _ingest_operation(mount: IngestMount, path: str) -> dict[str, Any]:
    body = {"required": True, "content": {"*/*": {"schema": {"type": "string"}}}}
    return {
        "operationId": _operation_id("POST", path),
        "summary": f"Webhooks of {mount.source}",
        "tags": [mount.source],
        "security": [],
        "requestBody": body,
        "responses": {
            "200": {"description": "Stored."},
            "401": {"description": "The signature is not good."},
            "503": {"description": "Cannot be stored at the moment; send it again."},
        },
    }
