"""Which handler answers a path. A fixed path wins over a parameter; the most specific path alone decides.

A path is made of segments; `{name}` takes one segment, a last `{name:path}` takes all that is left. When the
most specific path that fits does not have the method, the answer is 405, even if a less specific one does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from .problems import BadRequest

T = TypeVar("T")

_PARAMETER = re.compile(r"^\{([a-zA-Z_][a-zA-Z0-9_]*)(:path)?\}$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Found(Generic[T]):
    """The path and method are known."""

    value: T
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class OtherMethods:
    """The path is known, with these methods."""

    methods: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """Two providers declared the same method and path."""

    method: str
    path: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} is declared by {self.first} and by {self.second}"


@dataclass
class _Leaf(Generic[T]):
    by_method: dict[str, tuple[T, tuple[str, ...], str]] = field(default_factory=dict)


@dataclass
class _Node(Generic[T]):
    fixed: dict[str, _Node[T]] = field(default_factory=dict)
    parameter: _Node[T] | None = None
    leaf: _Leaf[T] | None = None
    rest: _Leaf[T] | None = None


class Router(Generic[T]):
    """A table of paths, filled once and then only read."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._fixed: dict[str, _Leaf[T]] = {}

    def add(self, method: str, path: str, value: T, provider: str) -> Taken | None:
        """Enter a path; when it is taken already nothing changes and both providers are named."""
        node, names, leaf = self._root, [], None
        segments = path[1:].split("/")
        for position, segment in enumerate(segments):
            match = _PARAMETER.match(segment)
            if match is None:
                if "{" in segment or "}" in segment:
                    raise ValueError(
                        f"{path}: a parameter is a whole segment, {{name}} or a last {{name:path}}"
                    )
                node = node.fixed.setdefault(segment, _Node())
                continue
            if match[1] in names:
                raise ValueError(f"{path}: the parameter {match[1]} appears twice")
            names.append(match[1])
            if match[2]:
                if position != len(segments) - 1:
                    raise ValueError(f"{path}: {segment} must be the last segment")
                node.rest = leaf = node.rest or _Leaf()
            else:
                node.parameter = node = node.parameter or _Node()
        if leaf is None:
            node.leaf = leaf = node.leaf or _Leaf()
        if method in leaf.by_method:
            return Taken(method, path, leaf.by_method[method][2], provider)
        leaf.by_method[method] = (value, tuple(names), provider)
        if not names:
            self._fixed[path] = leaf
        return None

    def find(self, method: str, raw_path: str) -> Found[T] | OtherMethods | None:
        """Look up the path as it came in, still percent-encoded. HEAD is answered by GET.

        Raises `BadRequest` for a path that is not UTF-8 or holds control characters.
        """
        leaf = self._fixed.get(raw_path)
        values: list[str] = []
        if leaf is None:
            leaf = _walk(self._root, split_path(raw_path), 0, values)
            if leaf is None:
                return None
        entry = leaf.by_method.get(method)
        if entry is None and method == "HEAD":
            entry = leaf.by_method.get("GET")
        if entry is None:
            methods = [*leaf.by_method, "OPTIONS"] + (["HEAD"] if "GET" in leaf.by_method else [])
            return OtherMethods(tuple(methods))
        return Found(entry[0], dict(zip(entry[1], values, strict=True)))


def split_path(raw_path: str) -> list[str]:
    """The decoded segments; an encoded slash stays inside its segment."""
    segments = raw_path[1:].split("/")
    if "%" in raw_path:
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in segments]
        except UnicodeDecodeError as error:
            raise BadRequest("the path is not UTF-8") from error
        if any(_CONTROL.search(segment) for segment in segments):
            raise BadRequest("the path holds control characters")
    return segments


def _walk(node: _Node[T], segments: list[str], at: int, values: list[str]) -> _Leaf[T] | None:
    if at == len(segments):
        return node.leaf
    segment = segments[at]
    below = node.fixed.get(segment)
    if below is not None:
        leaf = _walk(below, segments, at + 1, values)
        if leaf is not None:
            return leaf
    if node.parameter is not None and segment:
        values.append(segment)
        leaf = _walk(node.parameter, segments, at + 1, values)
        if leaf is not None:
            return leaf
        values.pop()
    if node.rest is not None:
        values.append("/".join(segments[at:]))
        return node.rest
    return None
