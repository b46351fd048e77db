"""Blocks of Python: they compile, what they import exists, and what they call of wharfd takes these arguments."""

import ast
import builtins
import importlib
import inspect
from datetime import timedelta
from typing import Annotated, Any, ClassVar

import msgspec

import wharfd
from wharfd.context import PluginContext
from wharfd.contracts.events import Envelope, Event
from wharfd.testing.receiver import Receiver

from .reading import ROOT

# What a name stands for in the blocks, as the page around them says.
KINDS: dict[str, Any] = {
    "ctx": PluginContext,
    "tx": wharfd.Transaction,
    "db": wharfd.Database,
    "job": wharfd.Job,
    "batch": wharfd.Batch,
    "request": wharfd.Request,
    "envelope": Envelope,
    "receiver": Receiver,
}
KNOWN = {"msgspec": msgspec, "timedelta": timedelta, "Event": Event}
KNOWN |= {"Any": Any, "ClassVar": ClassVar, "Annotated": Annotated}
_FREE = {
    "settings",
    "state",
    "log",
    "metrics",
    "nursery",
    "query",
    "body",
}  # of the plugin's own, or of a library


def check_python(text: str, page: str, wanted: set[str]) -> None:
    """Check one block. `wanted` are names of the reader's own that the page uses and does not define."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    tree = compile(text, page, "exec", flags=flags)
    defined = _defined(text) | _defined_on(page) | wanted
    imported = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            _check_name(node.id, defined | set(imported))
        if isinstance(node, ast.Attribute):
            _resolve(node, imported)
        if isinstance(node, ast.Call):
            _check_call(node, imported)


def _defined(text: str) -> set[str]:
    found = set()
    for node in ast.walk(compile(text, "", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _defined_on(page: str) -> set[str]:
    from .reading import blocks_of

    return {
        name
        for block in blocks_of(ROOT / page)
        if block.language == "python"
        for name in _defined(block.text)
    }


def _imported(tree: ast.AST) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            module = importlib.import_module(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = getattr(
                    module, alias.name, None
                ) or importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: None for alias in node.names}
    return found


def _check_name(name: str, defined: set[str]) -> None:
    """A name like a type or a function must be somebody's; constants and variables are the reader's own."""
    if name in defined or name in KNOWN or name in KINDS or hasattr(builtins, name) or name.isupper():
        return
    assert name in wharfd.__all__ or name.islower(), f"{name} is neither a name of wharfd nor the page's own"


def _resolve(node: ast.expr, imported: dict[str, Any]) -> Any:
    """Return what an expression like `ctx.db.fetch` is, as a class or function; None when it is anybody's."""
    if isinstance(node, ast.Name):
        if node.id in imported:
            return imported[node.id]
        return (
            KNOWN.get(node.id)
            or KINDS.get(node.id)
            or (getattr(wharfd, node.id) if node.id in wharfd.__all__ else None)
        )
    if isinstance(node, ast.Attribute):
        return _member(_resolve(node.value, imported), node.attr)
    return None


def _member(owner: Any, name: str) -> Any:
    if owner is None or name in _FREE:
        return None
    fields = {
        field for kind in getattr(owner, "__mro__", [owner]) for field in getattr(kind, "__annotations__", {})
    }
    if owner is PluginContext and name in fields:
        return _of_context(name)
    found = getattr(owner, name, None)
    assert found is not None or name in fields or _is_assigned(owner, name), f"{owner.__name__} has no {name}"
    return found if callable(found) and name not in fields else None


def _is_assigned(owner: Any, name: str) -> bool:
    return inspect.isclass(owner) and f"self.{name}" in inspect.getsource(owner)


def _of_context(name: str) -> Any:
    """Return the class of a part of the context, from its annotation and the imports beside it."""
    annotation = str(PluginContext.__annotations__[name])
    for module in (
        "audit",
        "cache",
        "clock",
        "db",
        "events",
        "http.outbound",
        "ratelimit",
        "secrets",
        "work",
        "context",
    ):
        kind = getattr(importlib.import_module(f"wharfd.{module}"), annotation, None)
        if inspect.isclass(kind):
            return kind
    return None


def _check_call(node: ast.Call, imported: dict[str, Any]) -> None:
    called = _resolve(node.func, imported)
    if (
        called is None
        or any(isinstance(arg, ast.Starred) for arg in node.args)
        or None in [k.arg for k in node.keywords]
    ):
        return
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return
    first = next(iter(signature.parameters), "")
    bound = [None] if first == "self" and not inspect.isclass(called) else []
    try:
        signature.bind(*bound, *([None] * len(node.args)), **{k.arg: None for k in node.keywords})
    except TypeError as error:
        raise AssertionError(f"line {node.lineno}: {ast.unparse(node.func)}: {error}") from None
