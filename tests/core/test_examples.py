"""The code that the docs show is code that runs."""

import re
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path

import trio

from wharfd.loading import find_plugins
from wharfd_netbanx.samples import make_sample

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "hello.py"
RECEIVER = ROOT / "docs" / "examples" / "receiver.py"
TRY = ROOT / "config" / "try.toml"


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


def test_the_receiver_verifies_as_the_page_says():
    (shown,) = blocks(ROOT / "docs" / "webhooks.md", "python")
    assert shown[shown.index("def verify") :] in RECEIVER.read_text(encoding="utf-8")


def test_the_page_shows_the_console_page_as_it_is():
    (shown,) = blocks(ROOT / "docs" / "console-pages.md", "python")
    page = ROOT / "docs" / "examples" / "wharfd-loyalty" / "wharfd_loyalty" / "console.py"
    assert shown == page.read_text(encoding="utf-8")


async def test_the_receiver_of_the_readme_is_told_of_a_payment_and_believes_it(daemon):
    """The way of the README in short; `tests/system/test_walks.py` (with `-m faults`) walks it line by line."""
    async with daemon(config=TRY.read_text(encoding="utf-8")) as d:
        state = d.running.machinery.state.path
        receiver = await trio.lowlevel.open_process(
            [sys.executable, str(RECEIVER), d.api, str(state)], stdout=subprocess.PIPE
        )
        try:
            with trio.fail_after(60):
                said = b""
                while b"is told of payments" not in said:
                    said += await receiver.stdout.receive_some()
                source = d.context("netbanx").settings.sources["netbanx"]
                signer = source.verifier(source.typed_keys())
                sent = make_sample(signer, "payment-completed", at=datetime.now(UTC))
                assert (await d.deliver(source.paths[0], sent.body, sent.headers)).status == 200
                while b"the signature holds" not in said:
                    said += await receiver.stdout.receive_some()
        finally:
            receiver.kill()
            await receiver.wait()
    assert b'"type":"payment.' in said
    assert b"NOT SIGNED" not in said
