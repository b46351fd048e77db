"""`wharfd orders …` against a running daemon, as a person types it."""

from __future__ import annotations

import argparse
import json

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from wharfd import Client, WharfdError
from wharfd_orders.commands import COMMANDS


@pytest.fixture
def cli(orders, capsys):
    """Run a command in a thread and return its exit code and what it printed."""
    (command,) = COMMANDS

    async def run(*words, as_json=False):
        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true")
        command.configure(parser)
        arguments = parser.parse_args([*(["--json"] if as_json else []), *map(str, words)])
        client = Client(orders.d.api, orders.d.token)
        capsys.readouterr()
        code = await trio.to_thread.run_sync(command.run, arguments, client)
        out = capsys.readouterr()
        return code, out.out, out.err

    with capture_logs():  # the daemon is in this process, and its log would stand between what is printed
        yield run


async def test_from_a_file_to_its_results(orders, kit, cli, tmp_path):
    file = tmp_path / "monday.jsonl"
    file.write_bytes(kit.lines(40))
    code, out, _ = await cli("submit", file, "--check")
    assert code == 0
    assert "valid" in out
    code, out, err = await cli("submit", file, "--watch", "--set", "label=Monday")
    assert code == 0
    assert "40 of 40 carried out" in out
    assert "bat_" in err
    code, out, _ = await cli("submit", file, "--set", "label=Monday")
    assert "was sent before" in out
    code, out, _ = await cli("list", as_json=True)
    (batch,) = [row["batchId"] for row in json.loads(out)]
    code, out, _ = await cli("show", batch)
    assert "completed" in out
    target = tmp_path / "out.csv"
    code, out, _ = await cli("results", batch, "--format", "csv", "--out", target)
    assert (code, len(target.read_text("utf-8-sig").splitlines())) == (0, 41)
    assert not list(tmp_path.glob("*.part"))
    code, out, _ = await cli("watch", batch, as_json=True)
    assert (code, json.loads(out)["status"]) == (0, "completed")
    code, out, _ = await cli("submit", file, "--again", "--set", "label=Monday", as_json=True)
    assert json.loads(out)["duplicates"] == 40


async def test_wrong_rows_are_shown(orders, kit, cli, tmp_path):
    file = tmp_path / "wrong.csv"
    file.write_text("Client Ref;produkt;type;amount;currency\na;F1;buy;1.250,00;EUR\nb;F1;buy;12.50;EUR\n")
    with pytest.raises(WharfdError, match="produkt"):
        await cli("submit", file)
    mapped = ("--map", "produkt:product_id")
    code, out, err = await cli("submit", file, *mapped)
    assert code == 1
    assert "thousands" in out
    assert "nothing was stored" in err
    code, out, _ = await cli("submit", file, *mapped, "--skip-invalid", as_json=True)
    view = json.loads(out)
    assert (code, view["total"], view["skipped"]) == (0, 2, 1)
    batch = (await orders.finished(view["batchId"]))["batchId"]
    code, out, _ = await cli("watch", batch)
    assert code == 1
    assert "--which failed" in out


async def test_decisions(orders, kit, cli, tmp_path):
    view = await orders.send(kit.lines(5), "?paused=true")
    batch = view["batchId"]
    assert json.loads((await cli("resume", batch, as_json=True))[1])["phase"] in (
        "running",
        "finishing",
        "finished",
    )
    await orders.finished(batch)
    with pytest.raises(WharfdError, match="is over"):
        await cli("cancel", batch, "--reason", "no")
    with pytest.raises(WharfdError, match="no failed order"):
        await cli("retry", batch, "--code", "x")
    with pytest.raises(WharfdError, match="there is no batch"):
        await cli("show", "bat_x")
    with pytest.raises(WharfdError, match="unknown can be resolved"):
        await cli("resolve", batch, 0, "failed", "--reason", "because")
    with pytest.raises(WharfdError, match="what is it"):
        await cli("submit", tmp_path / "file.xyz")
    with pytest.raises(WharfdError, match="cannot be read"):
        await cli("submit", tmp_path / "file.csv")
    _, out, _ = await cli("template", "--format", "json")
    assert msgspec.json.decode(out)["orders"]
