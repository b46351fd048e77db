"""Pages, and the blocks of code in them: fenced ones say their language, indented ones show it."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "systemd").glob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
# What a line of shell in the docs may begin with; what is not here is a slip or needs a line here.
PROGRAMS = set(
    re.findall(
        r"\S+",
        """wharfd make curl pip pytest python python3 git cd cp mv mkdir install chown test find head base64 df du grep cat
        systemctl systemd-sysusers systemd-tmpfiles journalctl psql pg_dump source true""",
    )
)
_SHOWS = [
    (r"\[[\w.\"\[\]]+\]$|\w+ = ", "toml"),
    (r"(from|import|async|def|class|@|[A-Z]\w+\($)", "python"),
    (r"(CREATE|SELECT|DELETE|ALTER) ", "sql"),
    (r"\{", "json"),
    (r"([A-Z_]+=\S* )?(\S*/)?(" + "|".join(sorted(PROGRAMS)) + r")( |$)", "sh"),
]


@dataclass(frozen=True)
class Block:
    """A block of code: where it begins, what it is in, and what it says."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.language}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").split("\n")
    name, found, at = str(page.relative_to(ROOT)), [], 0
    while at < len(lines):
        fence = re.match(r" *```(\w*)$", lines[at])
        if fence:
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```")
            found.append(Block(name, at + 1, fence[1], _text(lines[at + 1 : end])))
        elif re.match(r" {4}", lines[at]) and at and not lines[at - 1].strip():
            end = next((n for n in range(at, len(lines)) if re.match(r" {0,3}\S", lines[n])), len(lines))
            text = _text(lines[at:end])
            found.append(Block(name, at + 1, language_of(text), text))
            end -= 1
        else:
            end = at
        at = end + 1
    return found


def spans_of(page: Path) -> list[tuple[int, str]]:
    """Return the pieces of code in the sentences of a page, each with its line."""
    fenced = False
    found = []
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        if re.match(r" *```", line):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            found += [(number, span) for span in re.findall(r"`([^`]+)`", line)]
    return found


def language_of(text: str) -> str:
    """Say what an indented block is, from its first line; text when it looks like nothing we know."""
    first = text.lstrip().split("\n")[0]
    return next((language for pattern, language in _SHOWS if re.match(pattern, first)), "text")


def _text(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).rstrip() + "\n"
