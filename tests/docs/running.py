"""Blocks of Python as programs: what declares runs where a module would, what awaits runs inside a daemon."""

import ast
import inspect

import wharfd
from wharfd.testing import answers

from .python import KNOWN
from .reading import ROOT, blocks_of

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_AWAITS = ast.Await | ast.AsyncWith | ast.AsyncFor


class Program:
    """The blocks of one page, in one scope. `own` are the reader's own names, which the page does not define.

    `shown` is every value that stands alone in a line, as `Route(…)` does. `swaps` are changes of the text that
    put the plugin of these tests in the place of the page's.
    """

    def __init__(self, page, own=None, swaps=()):
        self.scope = (
            {name: getattr(wharfd, name) for name in wharfd.__all__}
            | KNOWN
            | {"answers": answers}
            | (own or {})
        )
        self.shown = []
        self.scope["_show"] = self.shown.append
        self._waiting = []
        for block in blocks_of(ROOT / "docs" / page):
            if block.language == "python":
                text = block.text
                for old, new in swaps:
                    text = text.replace(old, new)
                self._take(text, str(block))

    def _take(self, text, name):
        doing = []
        for statement in ast.parse(text).body:
            if doing or any(isinstance(node, _AWAITS) for node in _nodes(statement)):
                doing.append(statement)
            else:
                if isinstance(statement, ast.Expr):
                    shown = ast.Call(ast.Name("_show", ast.Load()), [statement.value], [])
                    statement = ast.copy_location(ast.Expr(shown), statement)
                tree = ast.fix_missing_locations(ast.Module([statement], []))
                exec(compile(tree, name, "exec"), self.scope)
        if doing:
            self._waiting.append(compile(ast.Module(doing, []), name, "exec", flags=_FLAGS))

    def of(self, kind):
        """Return what was shown of a kind, also out of lists."""
        flat = [one for shown in self.shown for one in (shown if isinstance(shown, list) else [shown])]
        return [one for one in flat if isinstance(one, kind)]

    async def go_on(self, **names):
        """Run the next block that awaits something, with these names."""
        self.scope |= names
        running = eval(self._waiting.pop(0), self.scope)
        if inspect.iscoroutine(running):
            await running

    @property
    def ended(self):
        return not self._waiting


def _nodes(statement):
    """The nodes of a statement outside functions that it defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    yield statement
    for child in ast.iter_child_nodes(statement):
        yield from _nodes(child)
