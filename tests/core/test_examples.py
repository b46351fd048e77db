"""The code that the docs show is code that runs."""

import re
import types
from pathlib import Path

from wharfd.loading import find_plugins

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "hello.py"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_shows_the_example_as_it_is():
    assert blocks(ROOT / "docs" / "write-a-plugin.md", "python")[0] == EXAMPLE.read_text(encoding="utf-8")


def test_the_readme_shows_the_same_plugin():
    shown = re.search(
        r"    from wharfd import Route, hookimpl\n.*?\n\n## ", (ROOT / "README.md").read_text(), re.DOTALL
    )
    code = "\n".join(line.removeprefix("    ") for line in shown[0].split("\n")[:-1])
    module = types.ModuleType("plugin_readme")
    exec(code, module.__dict__)
    assert module.register_routes(None)[0].path == "/hello/{name}"


async def test_the_smallest_plugin_runs_as_a_dropin(daemon, tmp_path):
    folder = tmp_path / "plugins.d"
    folder.mkdir(mode=0o700)
    (folder / "hello.py").write_text(EXAMPLE.read_text())
    (folder / "hello.py").chmod(0o600)
    loaded, problems = find_plugins({"hello": None}, folder)
    assert not problems
    async with daemon(plugins={"hello": loaded[0].module}) as d:
        assert (await d.get("/hello/you")).json() == {"greeting": "hello you"}
