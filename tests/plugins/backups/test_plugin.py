"""The plugin inside a whole daemon with its own PostgreSQL: asked over the API, answered by real backups."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import trio

import wharfd_backups
from wharfd.app import assemble, run
from wharfd.config import load_configuration
from wharfd.http.outbound import NetworkPolicy, OutboundClient
from wharfd.loading import LoadedPlugin
from wharfd.testing import DaemonHandle, PluginContract
from wharfd_backups.upkeep import keeper_of

from .conftest import sow


class TestContract(PluginContract):
    plugin = wharfd_backups


@asynccontextmanager
async def embedded_daemon(folder, seed, config=""):
    sow(seed, folder)
    text = (
        '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
        f'[plugins.backups]\nsecond = {{ folder = "{folder}/second" }}\narchive_every = "1s"\npace = 0\n{config}'
    )
    found = [LoadedPlugin("backups", "the test", module=wharfd_backups)]
    prepared = assemble(load_configuration(text, {}), found, [], path=None, state_dir=folder / "state")
    with trio.fail_after(120):
        policy = NetworkPolicy(allow_networks=("127.0.0.0/8",))
        async with OutboundClient(policy) as client, trio.open_nursery() as nursery:

            async def serve(task_status):
                await run(prepared, environ={}, task_status=task_status)

            running = await nursery.start(serve)
            try:
                yield DaemonHandle(running, client, None)
            finally:
                running.stop.set()


async def follow(d, answer, until=("done", "failed")):
    assert answer.status == 202, answer.body
    while True:
        seen = (await d.get(f"/api/v1/backups/runs/{answer.json()['run']}")).json()
        if seen["state"] in until or seen["step"] in until:
            return seen
        await trio.sleep(0.05)  # between two questions


async def test_a_backup_a_verification_a_drill_and_a_mount(short, seed):
    async with embedded_daemon(short, seed) as d:
        backup = await follow(d, await d.post("/api/v1/backups", {"note": "first"}))
        assert backup["state"] == "done", backup
        (listed,) = (await d.get("/api/v1/backups")).json()["backups"]
        assert (listed["id"], listed["second"], listed["encrypted"]) == (backup["id"], True, True)
        verified = await follow(d, await d.post(f"/api/v1/backups/entries/{listed['id']}/verify"))
        assert (verified["state"], len(verified["result"]["said"])) == ("done", 2), verified
        # a flipped bit in the first place is said, and that the second is whole as well
        (path,) = keeper_of(d.context("backups")).storehouse.first.path("backups").glob("*.base.*")
        good = path.read_bytes()
        path.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        bad = await follow(d, await d.post(f"/api/v1/backups/entries/{listed['id']}/verify"))
        assert (bad["state"], "damaged" in bad["error"]) == ("failed", True), bad
        assert ["is whole" in words for words in bad["result"]["said"]] == [True, False]
        path.write_bytes(good)
        drilled = await follow(d, await d.post("/api/v1/backups/drills", {}))
        assert drilled["state"] == "done", (drilled["error"], drilled["result"])
        outcomes = {check["name"]: check["outcome"] for check in drilled["result"]["checks"]}
        assert "failed" not in outcomes.values()
        mounted = await follow(d, await d.post("/api/v1/backups/mounts", {}), until=("mounted", "failed"))
        assert mounted["step"] == "mounted", mounted["error"]
        keeper = keeper_of(d.context("backups"))
        restored, _ = keeper.mounts[mounted["id"]]
        with pytest.raises(Exception, match="read-only"):
            await restored.scratch.ask("CREATE TABLE t (i int)", "wharfd")
        ended = await d.request("DELETE", f"/api/v1/backups/mounts/{mounted['id']}")
        assert ended.status == 200, ended.body
        gone = await follow(d, ended_as_asked(mounted["id"]))
        assert gone["state"] == "done"
        assert not (keeper.scratch / mounted["id"]).exists()
        keeper.settings = replace(keeper.settings, mount_for=timedelta(0))  # by itself, when its time is over
        over = await follow(d, await d.post("/api/v1/backups/mounts", {}))
        assert over["state"] == "done", over["error"]
        assert (list(keeper.scratch.iterdir()), keeper.mounts) == ([], {})


def ended_as_asked(run_id):
    import msgspec

    from wharfd.testing.running import Answer

    return Answer(202, {}, msgspec.json.encode({"run": run_id}))
