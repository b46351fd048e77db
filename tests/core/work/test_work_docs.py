"""What the documentation says is what the engine does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from wharfd.db import sql
from wharfd.declare import WorkQueue
from wharfd.work.table import WORK_COLUMNS

TEXT = (Path(__file__).parents[3] / "docs" / "work.md").read_text()


async def test_the_documented_table_can_be_worked(kit):
    statements = re.search(r"```sql\n(.*?)```", TEXT, re.DOTALL).group(1)
    await kit.db.owner.execute(sql("test.docs", statements.replace("shop.", "wharfd.")))
    seen = []

    async def send(ctx, job):
        seen.append(job.row.address)

    class Parcel(msgspec.Struct):
        id: int
        address: str

    engine = kit.engine()
    queue = WorkQueue(name="parcels", table="wharfd.parcels", row=Parcel, handler=send)
    prepared = await engine.prepare("shop", queue)
    await kit.things.fetch("INSERT INTO wharfd.parcels (address) VALUES ('here') RETURNING 1")

    async def sent():
        return seen

    async with kit.running(engine, prepared):
        await kit.wait_for(sent)


def test_every_work_column_and_state_is_documented():
    for name in WORK_COLUMNS:
        assert re.search(rf"^    {name}\s", TEXT, re.MULTILINE), name
    for state in ("ready", "running", "done", "buried", "held", "cancelled"):
        assert f"| `{state}` |" in TEXT
