"""kill -9 at every step of the state machine: nothing is lost, nothing goes too early, the next run goes on."""

import signal
import sys
from pathlib import Path

import pytest
import trio
import zstandard

RUNNER = Path(__file__).with_name("runner.py")
# In the order in which a run comes by them.
STEPS = [
    "after_planned", "lines", "written", "after_exporting", "after_exported", "copied", "told",
    "after_verified", "cut_off", "batch", "after_uploaded", "after_detached",
]  # fmt: skip
TABLES = ("shop.events", "shop.notes")
OPTIONS = "dry_run_first = false\nmax_share = 1.0"
VERIFIED = "('verified', 'uploaded', 'detached', 'dropped')"


async def every_row(s):
    found = {}
    for table in TABLES:
        found[table] = {row[0] for row in await s.sql(f"SELECT row_to_json(t)::text FROM {table} t")}
    return found


async def months_beside(s):
    """The months that are out of their table and not dropped yet."""
    return await s.sql(
        """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'shop' AND c.relkind = 'r' AND c.relname LIKE 'events_y%'
          AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)"""
    )


async def rows_beside(s):
    rows = set()
    for (part,) in await months_beside(s):
        rows |= {row[0] for row in await s.sql(f"SELECT row_to_json(t)::text FROM {part} t")}
    return rows


def archived_rows(root):
    """The rows of the archives that are whole: those with a manifest."""
    rows = set()
    for path in root.rglob("*.manifest.json"):
        raw = path.with_name(path.name.replace(".manifest.json", ".jsonl.zst")).read_bytes()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        rows |= set(plain.decode().splitlines())
    return rows


async def run_once(tmp_path, step):
    """Run retention in a process of its own that kills itself at a step; return how it ended."""
    command = [sys.executable, str(RUNNER), str(tmp_path / "wharfd.toml"), str(tmp_path / "state"), step]
    with trio.fail_after(120):
        done = await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_a_run_that_is_killed_at_any_step_loses_nothing_and_goes_on(shop, tmp_path, step):
    async with shop(OPTIONS) as s:
        everything, settings = await every_row(s), s.d.settings
        (tmp_path / "wharfd.toml").write_text(
            '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
            f'[database]\nurl = "{settings.url}"\nowner_url = "{settings.owner_url}"\n'
            f'[plugins.shop]\n[plugins.retention]\nsecond = {{ folder = "{tmp_path}/second" }}\ngrace = "0s"\n'
            f"pause_ms = 0\nbatch_rows = 100\n{OPTIONS}\n"
        )
    first, second = tmp_path / "state" / "plugins" / "retention" / "archive", tmp_path / "second"
    assert await run_once(tmp_path, step) == -signal.SIGKILL
    async with shop(OPTIONS, fill=False, settings=settings) as s:
        left, beside = await every_row(s), await rows_beside(s)
        for table in TABLES:
            # What is out of the table lies, readable, in both places: nothing went before that.
            gone = everything[table] - left[table]
            assert gone <= archived_rows(first) & archived_rows(second), table
        early = await s.sql(
            f"SELECT id FROM retention.units WHERE archive AND deleted > 0 AND state NOT IN {VERIFIED}"
        )
        assert early == []
        assert beside <= everything["shop.events"]
        again = await s.run()
        assert not any(rule["errors"] for rule in again["rules"].values()), again["rules"]
        assert await s.count("shop.events") == 2000
        assert await s.count("shop.notes") == 30
        assert await s.count("shop.pings") == 0
        assert await s.count("shop.jobs") == 5
        assert await s.sql("SELECT FROM retention.units WHERE state <> 'dropped'") == []
        assert await months_beside(s) == []
        for place in (first, second):
            kept = archived_rows(place)
            for table in TABLES:
                assert everything[table] <= kept | (await every_row(s))[table], table
            assert list(place.rglob("*.tmp")) == []
        certified = await s.sql(
            "SELECT sum((detail ->> 'deleted')::bigint) FROM wharfd.audit WHERE action = 'retention.deleted'"
        )
        assert certified[0][0] == 500 + 370 + 250 + 15
