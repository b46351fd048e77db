"""Every block of code and every command of every page is true: it is run elsewhere, or held against the code here.

`make faults` walks the ways through the docs line by line (`tests/system/test_walks.py`); here nothing is
started, so that every page can be asked every time.
"""

import configparser
import json
import re
import shutil
import subprocess

import pytest

from .commands import check_route, check_shell, check_span, own_options, parser
from .python import check_python
from .reading import PAGES, PROGRAMS, ROOT, blocks_of, spans_of
from .settings import check_toml

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# What is not checked here, and why; (page or "", language).
ELSEWHERE = {
    ("docs/webhooks.md", "javascript"): "run by tests/plugins/webhooks/test_docs.py",
    ("docs/webhooks.md", "go"): "run by tests/plugins/webhooks/test_docs.py",
    ("docs/webhooks.md", "php"): "run by tests/plugins/webhooks/test_docs.py, where there is a php",
    ("", "expect"): "what the block above it must say: tests/system/test_runbooks.py",
    ("", "sql"): "run below",
}
# A part of a table: the heading it belongs under, by its page and first word.
UNDER = {
    ("docs/providers.md", "keys"): "[plugins.netbanx.sources.netbanx]\n",
    ("docs/secrets.md", "password"): "",
}
# Names of the reader's own in blocks of Python.
OWN = {"docs/mint.md": {"SolanaMinter"}, "docs/ingest.md": {"Admission"}, "docs/cache.md": {"Totals"}}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder for all blocks: the parser is made once."""
    return tmp_path_factory.mktemp("docs")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_true(block, folder):
    if {(block.page, block.language), ("", block.language)} & set(ELSEWHERE):
        return
    if block.language == "sh":
        check_shell(block.text, folder)
    elif block.language == "console":
        check_shell("\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ ")), folder)
    elif block.language == "toml":
        head = UNDER.get((block.page, block.text.split()[0]))
        if head == "":  # one way to write a value in each line
            for line in block.text.splitlines():
                check_toml("[plugins.mint.mail]\nhost = 'a.example'\nsender = 'a@b.example'\n" + line, folder)
        else:
            check_toml((head or "") + block.text, folder)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "python":
        check_python(block.text, block.page, OWN.get(block.page, set()))
    elif block.language == "ini":
        configparser.ConfigParser(strict=False).read_string(block.text)
    else:
        assert block.language == "text", f"{block} says no language that is known here"
        commands = [line for line in block.text.splitlines() if line.split(" ")[0] in PROGRAMS - {"wharfd"}]
        assert not commands, f"{block} holds commands; call it sh"


def test_every_block_of_shell_is_shell():
    text = "\n".join(f"(\n{block.text})" for block in BLOCKS if block.language == "sh")
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_sentence_names_is_there(page, folder):
    if page.name == "api.md":
        return  # is where the routes are taken from
    for line, span in spans_of(page):
        try:
            if re.match(r"(\S*/)?wharfd [a-z-]", span):
                check_span(span, folder)
            elif found := re.match(r"(GET|POST|PUT|PATCH|DELETE) (/\S+|…/\S+)", span):
                check_route(found[1], found[2])
            elif found := re.match(r"\[([a-z_.]+)\] ([a-z_]+)", span):
                options = (ROOT / "docs" / "configure.md").read_text(encoding="utf-8")
                section = options.partition(f"## `[{found[1]}]`")[2].partition("\n## ")[0]
                assert f"| `{found[2]}` |" in section, f"there is no option {span}"
        except AssertionError as wrong:
            raise AssertionError(f"{page.relative_to(ROOT)}:{line} `{span}`: {wrong}") from None


@pytest.mark.parametrize(
    "wrong",
    [
        "wharfd stauts", "wharfd work requeue", "wharfd status --verbose", "wharfd keys create --ownr ann",
        "make coffee", "curl http://127.0.0.1:8470/api/v1/nothing", "frobnicate --all", "wharfd status | wharfd tpo",
        "curl -X DELETE http://127.0.0.1:8470/api/v1/status", "WHARFD_KEY=k wharfd --url http://a.example statu",
    ],
)  # fmt: skip
def test_a_slip_in_a_command_is_found(wrong, folder):
    with pytest.raises(AssertionError):
        check_shell(wrong, folder)


@pytest.mark.parametrize(
    "wrong",
    [
        "[http]\nbnd = 'a:1'", "[plugins.orders]\nmax_rowz = 1", "[plugins.nothing]", "[plugins.orders]\nmax_rows = 'x'",
        "[plugins.netbanx.sources.a]\nscheme = 'paysave'", "[htp]", "[plugins.loyalty]\ngold = 1",
    ],
)  # fmt: skip
def test_a_slip_in_a_configuration_is_found(wrong, folder):
    with pytest.raises(AssertionError):
        check_toml(wrong, folder)


@pytest.mark.parametrize(
    "wrong",
    [
        "await ctx.db.fetchh(LIST)", "await ctx.db.fetch(LIST, tmeout=1)", "from wharfd import Rout", "ctx.databse",
        "Route(method='GET', path='/', handler=h)", "WorkQueue(name='a', tabel='b')", "await ctx.http.request('GET')",
        "from wharfd.contracts.html import tabel", "await ctx.events.publish(event)", "RetryPolicy(3)", "job.comit()",
        "sql('only a name')", "await ctx.jobs.enqueue(tx, args, due=60)", "Schedule(name='a', each=1)",
    ],
)  # fmt: skip
def test_a_slip_in_python_is_found(wrong):
    with pytest.raises((AssertionError, ImportError)):
        check_python(wrong, "docs/database.md", set())


def test_no_command_takes_an_option_that_all_take(folder):
    common = {"--config", "--state-dir", "--url", "--json"}
    assert [found for found in own_options(parser(folder)[1]) if found[1] in common] == []
