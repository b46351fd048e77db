"""Bytes and query strings into typed values; what is wrong is told by field, as much at once as possible."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from .problems import BadRequest, FieldError, HttpProblem, Invalid, UnsupportedMediaType

_MOST_ERRORS = 50
_MOST_QUERY_FIELDS = 200
_ZERO = b"\\u0000"
T = TypeVar("T")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)


class BodyDecoder:
    """Turns a body into the type a route declares."""

    def __init__(self, type_: Any) -> None:
        self.type = type_
        self._decoder: msgspec.json.Decoder[Any] | None = None
        if type_ is not None and type_ is not bytes:
            self._decoder = msgspec.json.Decoder(type_)

    def check_type(self, content_type: str | None, encoding: str | None) -> None:
        """Refuse with 415 what cannot be decoded. A missing Content-Type is taken for JSON."""
        if encoding and encoding.strip().lower() != "identity":
            raise UnsupportedMediaType(
                f"Content-Encoding {encoding[:40]} is not taken; send the body as it is",
                headers={"Accept-Encoding": "identity"},
            )
        if self._decoder is None or not content_type:
            return
        kind = content_type.partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaType(
                f"the body must be application/json, not {kind[:80]}", headers={"Accept": "application/json"}
            )

    def decode(self, raw: bytes) -> Any:
        """Return the value; 400 for what is not JSON, 422 with every wrong field for what does not fit."""
        if self.type is bytes:
            return raw
        if self._decoder is None:
            return None
        if not raw:
            if type(None) in get_args(self.type):
                return None
            raise BadRequest("a JSON body is needed and none was sent")
        try:
            value = self._decoder.decode(raw)
            if _ZERO in raw and (found := list(_limited(_zeros(msgspec.json.decode(raw), "")))):
                raise Invalid(*found)
            return value
        except msgspec.ValidationError as error:
            raise self._explain(raw, error) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON: {_sentence(str(error))}") from error
        except RecursionError as error:
            raise BadRequest("the body is nested too deeply") from error

    def _explain(self, raw: bytes, error: msgspec.ValidationError) -> HttpProblem:
        try:
            value = msgspec.json.decode(raw)
        except msgspec.ValidationError:  # JSON, with a number that nothing can hold
            return Invalid(_field_error(error, ""))
        except (msgspec.DecodeError, RecursionError):
            return BadRequest("the body is not JSON")
        found = list(_limited(_problems(value, self.type, "", strict=True)))
        return Invalid(*(found or [_field_error(error, "")]))


class QueryDecoder:
    """Turns a query string into the Struct a route declares, or into a dict of text.

    A parameter that the Struct does not have is refused: a mistyped filter would give everything. `lenient`
    passes it over, and `_`, which browsers' scripts add against kept answers, is always passed over.
    """

    def __init__(self, type_: type[Any] | None, *, lenient: bool = False) -> None:
        self.type = type_
        self._lenient = lenient
        self._fields: dict[str, bool] = {}
        if type_ is not None:
            for field in msgspec.structs.fields(type_):
                self._fields[field.encode_name] = _takes_list(field.type)

    def decode(self, query: bytes) -> Any:
        """Return the Struct (text becomes numbers, dates, enums, lists); 422 names each wrong parameter."""
        pairs = _split(query) if query else []
        if self.type is None:
            return dict(pairs)
        values: dict[str, Any] = {}
        errors: list[FieldError] = []
        for name, text in pairs:
            if name not in self._fields:
                if not self._lenient and name != "_":
                    errors.append(FieldError(name, f"is not known here; {self._known()}", "query"))
            elif self._fields[name]:
                values.setdefault(name, []).append(text)
            elif name in values:
                errors.append(FieldError(name, "is given more than once", "query"))
            elif text:
                values[name] = text
        if errors:
            raise Invalid(
                *(*_limited(_problems(values, self.type, "", strict=False, where="query")), *errors)
            )
        return struct_of_text(values, self.type, where="query")

    def _known(self) -> str:
        return f"known are {', '.join(self._fields)}" if self._fields else "there are no parameters"


def struct_of_text(values: Mapping[str, Any], type_: type[T], *, where: str = "body") -> T:
    """Return a Struct made of texts, such as a row of CSV; raises `Invalid`, which names each wrong field."""
    try:
        return msgspec.convert(values, type_, strict=False)
    except msgspec.ValidationError as error:
        found = list(_limited(_problems(values, type_, "", strict=False, where=where)))
        raise Invalid(*(found or [_field_error(error, "", where)])) from error


def _split(query: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_QUERY_FIELDS,
        )
    except UnicodeDecodeError as error:
        raise BadRequest("the query string is not UTF-8") from error
    except ValueError as error:
        raise BadRequest(f"the query string has more than {_MOST_QUERY_FIELDS} parameters") from error
    if b"%00" in query and (found := list(_limited(_zeros(dict(pairs), "", "query")))):
        raise Invalid(*found)
    return pairs


def _zeros(value: Any, path: str, where: str = "body") -> Iterator[FieldError]:
    """Find text with the character U+0000, which PostgreSQL keeps neither in text nor in JSON."""
    if isinstance(value, str):
        if "\0" in value:
            yield FieldError(path, "holds the character U+0000, which cannot be kept", where)
    elif isinstance(value, dict):
        for name, inner in value.items():
            at = f"{path}.{name}" if path else name
            yield from _zeros(name, at, where)
            yield from _zeros(inner, at, where)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _zeros(inner, f"{path}[{position}]", where)


def _takes_list(type_: Any) -> bool:
    origin = get_origin(type_) or type_
    if origin in (list, set, frozenset, tuple):
        return True
    return any(_takes_list(part) for part in get_args(type_) if part is not type(None))


def _limited(problems: Iterator[FieldError]) -> Iterator[FieldError]:
    for _, problem in zip(range(_MOST_ERRORS), problems, strict=False):
        yield problem


def _problems(
    value: Any, type_: Any, path: str, *, strict: bool, where: str = "body"
) -> Iterator[FieldError]:
    """Find what is wrong with `value`, going into structs and lists of structs."""
    try:
        msgspec.convert(value, type_, strict=strict, str_keys=True)
        return
    except msgspec.ValidationError as error:
        whole = _field_error(error, path, where)
        if whole.message.startswith("invalid enum value") and (words := _choices(type_)):
            whole = FieldError(whole.field, f"must be one of {', '.join(words)}", where)
    struct, many = _struct_in(type_)
    inner: Iterator[FieldError] = iter(())
    if struct is not None and many and isinstance(value, list):
        inner = (
            problem
            for position, item in enumerate(value)
            for problem in _problems(item, struct, f"{path}[{position}]", strict=strict, where=where)
        )
    elif struct is not None and not many and isinstance(value, dict):
        inner = _field_problems(value, struct, path, strict=strict, where=where)
    found = False
    for problem in inner:
        found = True
        yield problem
    if not found:  # the parts are fine, the whole is not: a length, or a check of the Struct's own
        yield whole


def _field_problems(
    value: Mapping[str, Any], struct: type[Any], path: str, *, strict: bool, where: str
) -> Iterator[FieldError]:
    known = set()
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        known.add(name)
        inner = f"{path}.{name}" if path else name
        if name in value:
            yield from _problems(value[name], field.type, inner, strict=strict, where=where)
        elif field.required:
            yield FieldError(inner, "is missing", where)
    if struct.__struct_config__.forbid_unknown_fields:
        for name in value:
            if name not in known:
                yield FieldError(f"{path}.{name}" if path else name, "is not a known field", where)


def _choices(type_: Any) -> list[str]:
    """The values of a Literal or an Enum, optional or annotated or not; none for other types."""
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return [str(one.value) for one in type_]
    if get_origin(type_) is Literal:
        return [str(value) for value in get_args(type_)]
    parts = [part for part in get_args(type_) if part is not type(None) and part is not msgspec.UnsetType]
    return _choices(parts[0]) if len(parts) == 1 or hasattr(type_, "__metadata__") else []


def _struct_in(type_: Any) -> tuple[type[Any] | None, bool]:
    """The Struct inside `Struct` or `list[Struct]`, optional or annotated or not; and whether a list."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return (None if type_.__struct_config__.array_like else type_), False
    parts = [part for part in get_args(type_) if part is not type(None)]
    if get_origin(type_) is list:
        struct, many = _struct_in(parts[0])
        return (None, False) if many else (struct, struct is not None)
    optional = type(None) in get_args(type_) and len(parts) == 1
    annotated = hasattr(type_, "__metadata__")
    return _struct_in(parts[0]) if optional or annotated else (None, False)


def _field_error(error: msgspec.ValidationError, path: str, where: str = "body") -> FieldError:
    match = _AT.match(str(error))
    assert match is not None
    inner = match["path"] or ""
    field = f"{path}{inner}" if path else inner.removeprefix(".")
    return FieldError(field, _sentence(match["what"]), where)


def _sentence(text: str) -> str:
    text = text.replace("`", "")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
