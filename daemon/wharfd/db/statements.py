"""SQL statements and their names. Every statement has one: it is how statistics, logs and errors call it."""

from __future__ import annotations

import re

_NAME = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")
_MAX_NAME = 120


class Statement(str):
    """SQL text with a name; make one with `sql`. Values are bound as $1, $2 …, never put into the text."""

    __slots__ = ("name", "text")

    name: str
    text: str

    def __repr__(self) -> str:
        return f"<statement {self.name}>"


def sql(name: str, text: str) -> Statement:
    """Make a named statement: `LIST = sql("list_transactions", "SELECT … WHERE owner = $1")`."""
    if not _NAME.match(name) or len(name) > _MAX_NAME:
        raise ValueError(f"statement name {name!r} is not snake_case (dots allowed, {_MAX_NAME} characters)")
    if not text.strip():
        raise ValueError(f"statement {name} is empty")
    statement = Statement(text)
    statement.name = name
    statement.text = text  # a plain str: the driver refuses subclasses
    return statement


def check(statement: object) -> Statement:
    """Return the statement, or refuse text without a name."""
    if not isinstance(statement, Statement):
        raise TypeError(
            f'a statement needs a name: write sql("verb_noun", "…") instead of {type(statement).__name__}'
        )
    return statement


def quoted(identifier: str) -> str:
    """Quote one identifier, or `schema.table`, for use in SQL text that cannot take a bound value."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in identifier.split("."))


def literal(text: str) -> str:
    """Quote a string constant, for the few commands (DDL bounds, SET) that take no bound value."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in escaped else "'" + escaped + "'"
