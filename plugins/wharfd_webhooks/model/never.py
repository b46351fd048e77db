"""Filters that can never let anything through: mistakes that would otherwise only show as silence.

What is found is certain; what is not found may still never match. Conditions that must hold together are
looked at per path: values that are asked for against every other condition, and ranges against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .filters import MISSING, Filter, Test, condition_test

ROOTS = ("id", "type", "timestamp", "data")
_LOW, _HIGH = ("gt", "gte"), ("lt", "lte")

Conditions = list[tuple[str, Any]]


def never_problems(given: Filter, where: str = "filter") -> list[tuple[str, str]]:
    """Return fields and sentences for what can never hold in a filter that is otherwise valid."""
    paths: dict[str, tuple[str, Conditions]] = {}
    problems = _gather(given, where, paths)
    for path, (field, conditions) in paths.items():
        if path.split(".", 1)[0] not in ROOTS:
            problems.append((field, f"leads nowhere: a payload has {', '.join(ROOTS)}; try data.{path}"))
        elif _contradicts(conditions):
            problems.append((field, "can never hold: its conditions exclude each other"))
    return problems


def _gather(given: Filter, where: str, paths: dict[str, tuple[str, Conditions]]) -> list[tuple[str, str]]:
    """Collect what must hold together, by path; alternatives only count when none of them can hold."""
    problems: list[tuple[str, str]] = []
    for name, value in given.items():
        here = f"{where}.{name}"
        if name == "and":
            for i, part in enumerate(value):
                problems += _gather(part, f"{here}[{i}]", paths)
        elif name == "or":
            each = [never_problems(part, f"{here}[{i}]") for i, part in enumerate(value)]
            if all(each):
                problems += [one for found in each for one in found]
        elif name != "not":
            conditions = value if isinstance(value, Mapping) else {"eq": value}
            paths.setdefault(name, (here, []))[1].extend(conditions.items())
    return problems


def _contradicts(conditions: Conditions) -> bool:
    tests: list[Test] = [condition_test(name, value) for name, value in conditions]
    candidates = _candidates(conditions)
    if candidates is not None:
        return not any(all(test(one) for test in tests) for one in candidates)
    return _empty_range(conditions)


def _candidates(conditions: Conditions) -> Sequence[Any] | None:
    """Return the only values that can pass, where some condition names them."""
    for name, value in conditions:
        if name == "eq":
            return [value]
    for name, value in conditions:
        if name == "in":
            return list(value)
    if ("exists", False) in conditions:
        return [MISSING]
    return None


def _empty_range(conditions: Conditions) -> bool:
    bounds = [(name, value) for name, value in conditions if name in (*_LOW, *_HIGH)]
    texts = {isinstance(value, str) for _, value in bounds}
    if any(name == "prefix" for name, _ in conditions):
        texts.add(True)
    if len(texts) > 1:
        return True
    for name, low in bounds:
        for other, high in bounds:
            if name in _LOW and other in _HIGH:
                strict = name == "gt" or other == "lt"
                if low > high or (strict and low == high):
                    return True
    return False
