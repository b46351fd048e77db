"""Lines of shell: what they call exists, with these options; what they fetch is a route."""

import argparse
import contextlib
import io
import re
import shlex
from functools import cache
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import wharfd_loyalty
from wharfd.cli import _common_options, build_parser
from wharfd.docs.shipped import shipped_registry

from .reading import PROGRAMS, ROOT

API = ROOT / "docs" / "api.md"  # written from the code, and fresh: tests/rules/test_docs.py
SOURCE = "/api/webhooks/netbanx"  # where config/try.toml takes webhooks in
EXAMPLES = [("GET", "/hello/{name}"), ("GET", "/api/v1/loyalty/notes"), ("POST", "/api/v1/loyalty/notes")]


@cache
def parser(folder: Path) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """Return the parser of a `wharfd` whose configuration enables every plugin."""
    config = folder / "all.toml"
    config.write_text("".join(f"[plugins.{name}]\n" for name in shipped_registry().host.plugins))
    common, _ = _common_options().parse_known_args(["--config", str(config)])
    return common, build_parser(common, [])


@cache
def routes() -> list[tuple[str, str]]:
    """Return (method, path) of everything that a daemon with every plugin and the examples' serves."""
    found = [*EXAMPLES, ("POST", SOURCE), ("GET", "/console"), ("GET", "/console/{plugin}/{page}")]
    for route in wharfd_loyalty.routes.ROUTES:
        found.append((route.method, route.path))
    for method, path, aliases in re.findall(
        r"^\| `([A-Z]+) (\S+)`((?:<br>or `\S+`)*)", API.read_text(), re.M
    ):
        found += [(method, one) for one in [path, *re.findall(r"`(\S+)`", aliases)]]
    return found


def check_route(method: str, path: str) -> None:
    """Fail unless there is such a route; a path may leave out its beginning where the page has said it.

    `/orders[/{id}]` names two routes.
    """
    if "[" in path:
        check_route(method, re.sub(r"\[.*\]", "", path))
        path = re.sub(r"[\[\]]", "", path)
    wanted = [part for part in re.sub(r"[?#].*", "", path).strip("/").split("/") if part != "…"]
    for known, template in routes():
        parts = template.strip("/").split("/")[-len(wanted) :]
        if known == method and len(parts) == len(wanted) and all(map(_fits, parts, wanted)):
            return
    raise AssertionError(f"there is no route {method} {path}")


def _fits(part: str, wanted: str) -> bool:
    return part == wanted or part.startswith("{") or bool(re.search(r"\bwh_…|…$", wanted) and "{" in part)


def check_shell(text: str, folder: Path) -> None:
    """Check every command of a block."""
    whole = re.sub(r"\\\n\s*", " ", text)
    for line in whole.splitlines():
        for words in _commands(line):
            _check(words, folder)


def check_span(text: str, folder: Path) -> None:
    """Check a command that stands in a sentence, where it may leave out what it needs."""
    words = shlex.split(re.sub(r"…|\b[A-Z]{2,}\b", "1", re.sub(r"[\[\]]", "", text)))
    for chosen in product(*(word.split("|") for word in words[1:])):
        said = _parse(parser(folder)[0], list(chosen), folder)
        assert said is None or "required" in said, said


def _commands(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found, current, skip = [], [], False
    for word in lexer:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>]+|>&", word):
            skip = True  # what follows is a file
        elif re.fullmatch(r"[();<>|&]+", word):
            found.append(current)
            current = []
        elif current or not re.match(r"[A-Z_]+=", word):
            current.append(word)
    return [words for words in [*found, current] if words]


def _check(words: list[str], folder: Path) -> None:
    program = words[0].rpartition("/")[2]
    if program.startswith("$") or words[0].startswith("$") or program == "cat" or words[:1] == ["export"]:
        return
    assert program in PROGRAMS, (
        f"{words[0]}: no program the docs know; a slip, or add it to tests/docs/reading.py"
    )
    if program == "wharfd":
        said = _parse(parser(folder)[0], words[1:], folder)
        assert said is None, f"{' '.join(words)}: {said}"
    elif program == "make":
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), (
                f"there is no make {target}"
            )
    elif program == "curl":
        _check_curl(words)


def _parse(common: argparse.Namespace, words: list[str], folder: Path) -> str | None:
    """Return what the command line is told to be wrong, None when nothing is."""
    _, rest = _common_options().parse_known_args(words)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser(folder)[1].parse_args(rest, namespace=argparse.Namespace(**vars(common)))
    except SystemExit as end:
        return None if end.code == 0 else said.getvalue().strip().splitlines()[-1]
    return None


def _check_curl(words: list[str]) -> None:
    sends = any(word.startswith(("-d", "--data", "--json")) for word in words)
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if sends else "GET"
    for word in words:
        if word.startswith("http"):
            check_route(method, urlsplit(word).path)


def own_options(given: argparse.ArgumentParser, name: str = "wharfd") -> list[tuple[str, str]]:
    """Return (command, option) of everything that the parser and those below it take."""
    found = []
    for action in given._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                found += own_options(inner, f"{name} {word}")
        found += [(name, option) for option in action.option_strings]
    return found
