"""kill -9 at every step of the state machine: nothing is lost, the next run goes on."""

import signal
import sys
from pathlib import Path

import pytest
import trio
import zstandard

RUNNER = Path(__file__).with_name("runner.py")
STEPS = [
    "after_planned", "written", "after_exporting", "after_exported", "copied", "after_verified", "cut_off",
    "batch", "after_uploaded", "after_detached",
]  # fmt: skip
TABLES = ("shop.events", "shop.notes")


async def every_row(s):
    found = {}
    for table in TABLES:
        found[table] = {row[0] for row in await s.sql(f"SELECT row_to_json(t)::text FROM {table} t")}
    return found


async def detached_rows(s):
    units = await s.sql(
        "SELECT part FROM retention.units WHERE state IN ('uploaded', 'detached') AND part IS NOT NULL"
    )
    rows = set()
    for (part,) in units:
        if (await s.sql(f"SELECT to_regclass('{part}') IS NOT NULL"))[0][0]:
            rows |= {row[0] for row in await s.sql(f"SELECT row_to_json(t)::text FROM {part} t")}
    return rows


def archived_rows(root):
    rows = set()
    for path in root.rglob("*.manifest.json"):
        raw = path.with_name(path.name.replace(".manifest.json", ".jsonl.zst")).read_bytes()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        rows |= set(plain.decode().splitlines())
    return rows


@pytest.mark.faults
@pytest.mark.slow
async def test_a_run_that_is_killed_at_any_step_loses_nothing_and_goes_on(shop, tmp_path):
    async with shop("dry_run_first = false\nmax_share = 1.0") as s:
        everything, settings = await every_row(s), s.d.settings
    config = tmp_path / "wharfd.toml"
    config.write_text(
        '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
        f'[database]\nurl = "{settings.url}"\nowner_url = "{settings.owner_url}"\n'
        f'[plugins.shop]\n[plugins.retention]\nsecond = {{ folder = "{tmp_path}/second" }}\ngrace = "0s"\n'
        "pause_ms = 0\nbatch_rows = 100\ndry_run_first = false\nmax_share = 1.0\n"
    )
    killed = []
    for step in STEPS:
        command = [sys.executable, str(RUNNER), str(config), str(tmp_path / "state"), step]
        done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
        if done.returncode == -signal.SIGKILL:
            killed.append(step)
        else:
            assert done.returncode == 0, done.stderr.decode()
        async with shop("dry_run_first = false\nmax_share = 1.0", fill=False, settings=settings) as s:
            left = await every_row(s)
            beside = await detached_rows(s)
        for place in (tmp_path / "second",):
            kept = archived_rows(place)
            for table in TABLES:
                assert everything[table] <= left[table] | kept | beside, step
    assert len(killed) >= 8, killed
    async with shop("dry_run_first = false\nmax_share = 1.0", fill=False, settings=settings) as s:
        await s.run()
        assert await s.count("shop.events") == 2000
        assert await s.count("shop.notes") == 30
        assert await s.sql("SELECT FROM retention.units WHERE state <> 'dropped'") == []
        kept = archived_rows(tmp_path / "state" / "plugins" / "retention" / "archive")
        assert everything["shop.notes"] <= kept | (await every_row(s))["shop.notes"]
        leftovers = await s.sql(
            "SELECT FROM pg_tables WHERE schemaname = 'shop' AND tablename LIKE 'events_y2026m0%'"
        )
        assert leftovers == []
