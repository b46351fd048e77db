"""A daemon with the shop and retention, and rows of several ages."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import wharfd_retention
import wharfd_shop
from wharfd import ensure_range, sql

CONFIG = """
[plugins.shop]
[plugins.retention]
second = {second}
grace = "{grace}"
pause_ms = 0
batch_rows = 100
{more}
"""
FILL = [
    """INSERT INTO shop.events SELECT n, now() - interval '200 days' + n * interval '1 minute', 'own_' || n % 3,
       decode(md5(n::text), 'hex'), n / 7.0, jsonb_build_object('n', n, 'text', 'a "quoted" \\ line' || chr(10) || 'ü')
       FROM generate_series(1, 500) n""",
    "INSERT INTO shop.events SELECT n, now(), 'own_1', NULL, NULL, NULL FROM generate_series(1, 2000) n",
    """INSERT INTO shop.notes SELECT n, now() + interval '1 hour' - n * interval '1 day', 'own_' || n % 3, 'note ' || n
       FROM generate_series(1, 400) n""",
    "INSERT INTO shop.pings SELECT now() - interval '2 days', n FROM generate_series(1, 250) n",
    """INSERT INTO shop.jobs SELECT n, CASE WHEN n <= 5 THEN 'ready' ELSE 'done' END, NULL,
       now() - interval '9 days' FROM generate_series(1, 20) n""",
]
_DAY = sql("day", "SELECT now() - interval '201 days', now()")
_COUNT = "SELECT count(*) FROM {}"


class Shop:
    """The running daemon, asked in short."""

    def __init__(self, d, folder):
        self.d, self.folder = d, folder
        self.ctx = d.context("retention")

    async def fill(self):
        first, last = await self.d.db.owner.fetchrow(_DAY)
        await ensure_range(self.d.db.owner, "shop.events", first, last)
        for number, text in enumerate(FILL):
            await self.d.db.execute(sql(f"fill_n{number}", text))
        await self.d.db.owner.execute(
            sql("analyze", "ANALYZE shop.events, shop.notes, shop.pings, shop.jobs")
        )

    async def count(self, table, where="true"):
        return await self.d.db.owner.fetchval(sql("count", f"SELECT count(*) FROM {table} WHERE {where}"))

    async def sql(self, text):
        return await self.d.db.owner.fetch(sql("any", text))

    async def run(self, **body):
        answer = await self.d.post("/api/v1/monitoring/retention/run", body)
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture
def shop(daemon, tmp_path):
    @asynccontextmanager
    async def start(more="", fill=True, second=None, grace="0s", **options):
        plugins = {"shop": wharfd_shop, "retention": wharfd_retention}
        second = second or f'{{ folder = "{tmp_path}/second" }}'
        config = CONFIG.format(second=second, more=more, grace=grace)
        async with daemon(plugins=plugins, config=config, state_dir=tmp_path / "state", **options) as d:
            opened = Shop(d, tmp_path)
            if fill:
                await opened.fill()
            yield opened

    return start


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("faults") and not os.environ.get("WHARFD_FAULTS"):
            item.add_marker(pytest.mark.skip(reason="slow; make faults runs it"))
