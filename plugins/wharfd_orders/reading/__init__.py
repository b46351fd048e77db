"""Reading an upload piece by piece, in constant memory: CSV, JSON Lines, JSON.

A parser is fed bytes and gives rows; what is wrong in one row stays in that row, what is wrong with the whole
file is raised as `Malformed`.
"""

from __future__ import annotations

from .csv_file import CsvParser
from .formats import Format, format_of
from .json_file import JsonParser
from .json_lines import JsonLinesParser
from .parsed import Limits, Malformed, Parser, Row, Totals

__all__ = [
    "CsvParser",
    "Format",
    "JsonLinesParser",
    "JsonParser",
    "Limits",
    "Malformed",
    "Parser",
    "Row",
    "Totals",
    "format_of",
    "make_parser",
]


def make_parser(kind: Format, charset: str | None, limits: Limits, **choices: object) -> Parser:
    """Return the parser for a format; `choices` are `rules`, `mapping` and `delimiter`."""
    if kind == "csv":
        return CsvParser(charset, limits, **choices)  # type: ignore[arg-type]
    rules = choices["rules"]
    if kind == "jsonl":
        return JsonLinesParser(charset, limits, rules=rules)  # type: ignore[arg-type]
    return JsonParser(charset, limits, rules=rules)  # type: ignore[arg-type]
