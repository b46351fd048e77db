"""Filters on the payload: a small language, checked when it is given and bounded when it is run.

    {"data.amount": {"gte": 1000}, "data.currency": {"in": ["EUR", "USD"]}}
    {"or": [{"data.status": "paid"}, {"not": {"data.test": {"exists": true}}}]}

A path walks objects by name and lists by number. Conditions on one path, and paths beside each other, must
all hold. A value instead of an object of operators means `eq`. A path that leads nowhere fails every
operator but `exists: false`, `ne` and `nin`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Filter = Mapping[str, Any]
Test = Callable[[Any], bool]

MAX_DEPTH = 8
MAX_CONDITIONS = 50
MAX_CHOICES = 200
MAX_TEXT = 1024
MAX_PATH = 256

MISSING = object()  # what a path finds that leads nowhere
_SCALARS = (str, int, float, bool, type(None))
_ORDERED = (str, int, float)
OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists", "prefix")


class FilterError(ValueError):
    """A filter that cannot be used; `field` is where in the filter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def compile_filter(given: Any) -> Test:
    """Turn a filter into a function of the payload; raises `FilterError` for anything that is not one."""
    return _Compiler().group(given, "filter", 0)


def condition_test(name: str, wanted: Any) -> Test:
    """Return what one condition says about a value, or about `MISSING`."""
    return _Compiler().condition(name, wanted, name)


class _Compiler:
    def __init__(self) -> None:
        self._conditions = 0

    def group(self, given: Any, where: str, depth: int) -> Test:
        """Compile an object of paths and of and, or, not: all of them must hold."""
        if depth > MAX_DEPTH:
            raise FilterError(where, f"is nested deeper than {MAX_DEPTH}")
        if not isinstance(given, Mapping) or not given:
            raise FilterError(where, "must be an object with at least one condition")
        tests: list[Test] = []
        for name, value in given.items():
            here = f"{where}.{name}"
            if name in ("and", "or"):
                tests.append(self.several(name, value, here, depth))
            elif name == "not":
                inner = self.group(value, here, depth + 1)
                tests.append(lambda payload, inner=inner: not inner(payload))  # type: ignore[misc]
            else:
                tests.append(self.path(name, value, here))
        return tests[0] if len(tests) == 1 else lambda payload: all(test(payload) for test in tests)

    def several(self, name: str, value: Any, where: str, depth: int) -> Test:
        if not isinstance(value, list) or not value:
            raise FilterError(where, "must be a list with at least one filter")
        inner = [self.group(part, f"{where}[{i}]", depth + 1) for i, part in enumerate(value)]
        if name == "and":
            return lambda payload: all(test(payload) for test in inner)
        return lambda payload: any(test(payload) for test in inner)

    def path(self, path: str, value: Any, where: str) -> Test:
        steps = path_steps(path, where)
        conditions = value if isinstance(value, Mapping) else {"eq": value}
        if not conditions:
            raise FilterError(where, "must hold an operator: " + ", ".join(OPERATORS))
        tests = [self.condition(name, wanted, f"{where}.{name}") for name, wanted in conditions.items()]

        def test(payload: Any) -> bool:
            found = walk(payload, steps)
            return all(check(found) for check in tests)

        return test

    def condition(self, name: str, wanted: Any, where: str) -> Test:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(
                where, f"is the {self._conditions}th condition; at most {MAX_CONDITIONS} are run"
            )
        if name not in OPERATORS:
            raise FilterError(where, f"is no operator; there are {', '.join(OPERATORS)}")
        if name in ("in", "nin"):
            return _membership(name, wanted, where)
        if name == "exists":
            if not isinstance(wanted, bool):
                raise FilterError(where, "must be true or false")
            return lambda found: (found is not MISSING) == wanted
        if name == "prefix":
            if not isinstance(wanted, str) or not 0 < len(wanted) <= MAX_TEXT:
                raise FilterError(where, f"must be text of 1 to {MAX_TEXT} characters")
            return lambda found: isinstance(found, str) and found.startswith(wanted)
        _scalar(wanted, where)
        if name in ("eq", "ne"):
            return (
                (lambda found: _same(found, wanted))
                if name == "eq"
                else (lambda found: not _same(found, wanted))
            )
        if isinstance(wanted, bool) or not isinstance(wanted, _ORDERED):
            raise FilterError(where, "must be a number or text")
        return _comparison(name, wanted)


def path_steps(path: str, where: str) -> tuple[str, ...]:
    """Split a path such as `data.lines.0.sku`; raises `FilterError`."""
    steps = tuple(path.split("."))
    if not path or len(path) > MAX_PATH or len(steps) > 16 or not all(steps):
        raise FilterError(where, f"a path is 1 to 16 names joined by dots, {MAX_PATH} characters at most")
    return steps


def walk(payload: Any, steps: tuple[str, ...]) -> Any:
    """Return what a path leads to, or a mark that is equal to nothing."""
    for step in steps:
        if isinstance(payload, Mapping):
            payload = payload.get(step, MISSING)
        elif isinstance(payload, list) and step.isdecimal() and len(step) < 9 and int(step) < len(payload):
            payload = payload[int(step)]
        else:
            return MISSING
        if payload is MISSING:
            return MISSING
    return payload


def found(value: Any) -> bool:
    """Whether `walk` led somewhere."""
    return value is not MISSING


def _scalar(value: Any, where: str) -> None:
    if not isinstance(value, _SCALARS) or (isinstance(value, str) and len(value) > MAX_TEXT):
        raise FilterError(
            where, f"must be text of at most {MAX_TEXT} characters, a number, true, false or null"
        )


def _same(found: Any, wanted: Any) -> bool:
    """Whether two JSON values are equal; unlike in Python, true is not 1."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _membership(name: str, wanted: Any, where: str) -> Test:
    if not isinstance(wanted, list) or not 0 < len(wanted) <= MAX_CHOICES:
        raise FilterError(where, f"must be a list of 1 to {MAX_CHOICES} values")
    for i, choice in enumerate(wanted):
        _scalar(choice, f"{where}[{i}]")
    if name == "in":
        return lambda found: any(_same(found, choice) for choice in wanted)
    return lambda found: not any(_same(found, choice) for choice in wanted)


def _comparison(name: str, wanted: Any) -> Test:
    text = isinstance(wanted, str)

    def test(found: Any) -> bool:
        if found is MISSING or isinstance(found, bool) or not isinstance(found, _ORDERED):
            return False
        if isinstance(found, str) != text:
            return False
        match name:
            case "gt":
                return bool(found > wanted)
            case "gte":
                return bool(found >= wanted)
            case "lt":
                return bool(found < wanted)
        return bool(found <= wanted)

    return test
