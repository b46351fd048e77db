"""What a plugin imports: every public name is there, is documented, and is known to the type checker."""

import ast
import inspect
from pathlib import Path

import pytest

import wharfd

SOURCE = Path(wharfd.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [n for n in wharfd.__all__ if n not in ("__version__", "Record")])
def test_a_public_name_can_be_imported_and_explains_itself(name):
    value = getattr(wharfd, name)
    assert inspect.getdoc(value), f"{name} needs a docstring: it is public"


def test_the_type_checker_sees_the_same_names():
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert imported == set(wharfd.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no public name 'nothing'"):
        wharfd.nothing  # noqa: B018
