"""JSON Schema: what a declared event looks like, and whether a payload fits an owner's own schema.

Understood is the part of JSON Schema 2020-12 that describes data: types, properties, items, enums, bounds,
formats of dates, and allOf, anyOf, oneOf, not, and `$ref` within the schema. A schema that uses anything
else is refused when it is given, so that no rule is silently ignored. `pattern` is refused too: a regular
expression given by a caller can be made to run for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 24
MAX_PROBLEMS = 20
MAX_STEPS = 50_000

_ANNOTATIONS = frozenset(
    [
        "$schema",
        "$id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    ]
)
_ASSERTIONS = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
    ]
    + [
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "format",
    ]
    + ["exclusiveMinimum", "exclusiveMaximum", "allOf", "anyOf", "oneOf", "not", "$ref", "$defs"]
)
_TYPES: dict[str, Any] = {
    "object": lambda v: isinstance(v, Mapping),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (
        not isinstance(v, bool) and (isinstance(v, int) or (isinstance(v, float) and v.is_integer()))
    ),
}
_COUNTS = frozenset(["minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"])
_NUMBERS = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])


class SchemaError(ValueError):
    """A schema that cannot be used; `field` is where in it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of an event class, with its definitions inside."""
    (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = definitions.pop(schema.get("$ref", "").rpartition("/")[2], schema)
    return {**own, "$defs": definitions} if definitions else dict(own)


def check_schema(schema: Any) -> None:
    """Raise `SchemaError` unless the schema is an object that describes data in the words we understand."""
    if not isinstance(schema, Mapping):
        raise SchemaError("schema", "must be an object")
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise SchemaError("schema", f"must have at most {MAX_SCHEMA_BYTES} bytes")
    _check(schema, "schema", 0, schema)


def problems(schema: Mapping[str, Any], value: Any, where: str = "data") -> list[tuple[str, str]]:
    """Return what is wrong with a value as (field, sentence), the first few; empty when it fits."""
    found: list[tuple[str, str]] = []
    for problem in _Validation(schema).run(schema, value, where, 0):
        found.append(problem)
        if len(found) >= MAX_PROBLEMS:
            break
    return found


def _check(schema: Any, where: str, depth: int, root: Mapping[str, Any]) -> None:
    if isinstance(schema, bool):
        return
    if depth > MAX_DEPTH:
        raise SchemaError(where, f"is nested deeper than {MAX_DEPTH}")
    if not isinstance(schema, Mapping):
        raise SchemaError(where, "must be an object, true or false")
    for word, value in schema.items():
        here = f"{where}.{word}"
        if word in _ANNOTATIONS:
            continue
        if word not in _ASSERTIONS:
            raise SchemaError(here, "is not a part of JSON Schema that is understood here")
        _check_word(word, value, here, depth, root)


def _check_word(word: str, value: Any, here: str, depth: int, root: Mapping[str, Any]) -> None:
    if word in ("properties", "$defs"):
        if not isinstance(value, Mapping):
            raise SchemaError(here, "must be an object")
        for name, inner in value.items():
            _check(inner, f"{here}.{name}", depth + 1, root)
    elif word in ("items", "additionalProperties", "not"):
        _check(value, here, depth + 1, root)
    elif word in ("allOf", "anyOf", "oneOf"):
        if not isinstance(value, list) or not value:
            raise SchemaError(here, "must be a list with at least one schema")
        for i, inner in enumerate(value):
            _check(inner, f"{here}[{i}]", depth + 1, root)
    elif word == "type":
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
            raise SchemaError(here, f"must be of {', '.join(sorted(_TYPES))}")
    elif word == "required":
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise SchemaError(here, "must be a list of names")
    elif word == "enum":
        if not isinstance(value, list) or not value:
            raise SchemaError(here, "must be a list with at least one value")
    elif word in _COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise SchemaError(here, "must be a whole number from 0")
    elif word in _NUMBERS:
        if not _TYPES["number"](value):
            raise SchemaError(here, "must be a number")
    elif word == "format" and not isinstance(value, str):
        raise SchemaError(here, "must be text")
    elif word == "$ref":
        _resolve(root, value, here)


def _resolve(root: Mapping[str, Any], reference: Any, where: str) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        raise SchemaError(where, "must point to a definition of this schema: #/$defs/NAME")
    name = reference.removeprefix("#/$defs/")
    definitions = root.get("$defs")
    if not isinstance(definitions, Mapping) or name not in definitions:
        raise SchemaError(where, f"points to {reference}, which is not there")
    return definitions[name]


class _Validation:
    """One run over one value, with a bound on its steps."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def run(self, schema: Any, value: Any, where: str, depth: int) -> Iterator[tuple[str, str]]:
        self._steps += 1
        if depth > MAX_DEPTH * 2 or self._steps > MAX_STEPS:
            yield where, "is too deep or too large to be checked"
            return
        if isinstance(schema, bool):
            if not schema:
                yield where, "must not be there"
            return
        if "$ref" in schema:
            yield from self.run(_resolve(self._root, schema["$ref"], where), value, where, depth + 1)
        kind = schema.get("type")
        if kind is not None:
            names = kind if isinstance(kind, list) else [kind]
            if not any(_TYPES[name](value) for name in names):
                yield where, f"must be of type {' or '.join(names)}"
                return
        if "enum" in schema and not any(_equal(value, choice) for choice in schema["enum"]):
            yield (
                where,
                "must be one of " + ", ".join(msgspec.json.encode(c).decode() for c in schema["enum"][:20]),
            )
        if "const" in schema and not _equal(value, schema["const"]):
            yield where, f"must be {msgspec.json.encode(schema['const']).decode()}"
        if isinstance(value, Mapping):
            yield from self._object(schema, value, where, depth)
        elif isinstance(value, list):
            yield from self._list(schema, value, where, depth)
        elif isinstance(value, str):
            yield from _text(schema, value, where)
        elif _TYPES["number"](value):
            yield from _number(schema, value, where)
        yield from self._combined(schema, value, where, depth)

    def _object(
        self, schema: Any, value: Mapping[str, Any], where: str, depth: int
    ) -> Iterator[tuple[str, str]]:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}.{name}", "is missing"
        known = schema.get("properties", {})
        for name, inner in value.items():
            if name in known:
                yield from self.run(known[name], inner, f"{where}.{name}", depth + 1)
            elif "additionalProperties" in schema:
                yield from self.run(schema["additionalProperties"], inner, f"{where}.{name}", depth + 1)
        if len(value) < schema.get("minProperties", 0):
            yield where, f"must have at least {schema['minProperties']} members"
        if len(value) > schema.get("maxProperties", len(value)):
            yield where, f"must have at most {schema['maxProperties']} members"

    def _list(self, schema: Any, value: list[Any], where: str, depth: int) -> Iterator[tuple[str, str]]:
        if len(value) < schema.get("minItems", 0):
            yield where, f"must have at least {schema['minItems']} items"
        if len(value) > schema.get("maxItems", len(value)):
            yield where, f"must have at most {schema['maxItems']} items"
        if schema.get("uniqueItems") is True:
            seen = {msgspec.json.encode(item, order="deterministic") for item in value}
            if len(seen) < len(value):
                yield where, "must not hold an item twice"
        if "items" in schema:
            for i, item in enumerate(value):
                yield from self.run(schema["items"], item, f"{where}[{i}]", depth + 1)

    def _combined(self, schema: Any, value: Any, where: str, depth: int) -> Iterator[tuple[str, str]]:
        for inner in schema.get("allOf", ()):
            yield from self.run(inner, value, where, depth + 1)
        if "anyOf" in schema and not any(self._fits(inner, value, depth) for inner in schema["anyOf"]):
            yield where, "fits none of the shapes it may have"
        if "oneOf" in schema:
            fitting = sum(self._fits(inner, value, depth) for inner in schema["oneOf"])
            if fitting != 1:
                yield where, f"must fit exactly one of the shapes it may have, and fits {fitting}"
        if "not" in schema and self._fits(schema["not"], value, depth):
            yield where, "has a shape that is excluded"

    def _fits(self, schema: Any, value: Any, depth: int) -> bool:
        return next(self.run(schema, value, "", depth + 1), None) is None


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _text(schema: Any, value: str, where: str) -> Iterator[tuple[str, str]]:
    if len(value) < schema.get("minLength", 0):
        yield where, f"must have at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        yield where, f"must have at most {schema['maxLength']} characters"
    parse = {"date-time": datetime.fromisoformat, "date": date.fromisoformat}.get(schema.get("format", ""))
    if parse is not None:
        try:
            parse(value)
        except ValueError:
            yield where, f"must be a {schema['format']} as ISO 8601 writes it"


def _number(schema: Any, value: float, where: str) -> Iterator[tuple[str, str]]:
    if "minimum" in schema and value < schema["minimum"]:
        yield where, f"must be at least {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield where, f"must be at most {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield where, f"must be above {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield where, f"must be below {schema['exclusiveMaximum']}"
