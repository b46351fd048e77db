"""Looking at queues and steering them: statistics, pause, requeue, the buried list, rates."""

from __future__ import annotations

import msgspec
import pytest

from wharfd.db import sql
from wharfd.declare import Retry
from wharfd.errors import UnknownQueue, WharfdError
from wharfd.redaction import redact_fields
from wharfd.work import Bury
from wharfd.work.rates import Rates


async def fail(ctx, job):
    raise Bury(f"no {job.row.note}")


async def succeed(ctx, job):
    pass


async def prepared(kit, handle=succeed, **more):
    records = []

    async def audit(tx, actor, action, subject, detail):
        records.append((actor, action, subject, detail))

    engine = kit.engine(audit=audit)
    queue = await engine.prepare("test", kit.queue(handle, **more))
    return engine, queue, records


@pytest.mark.parametrize("more", [{}, {"fair_by": "owner"}, {"fair_by": "owner", "ordered": True}])
async def test_statistics_count_what_there_is(kit, more):
    engine, _, _ = await prepared(kit, **more)
    empty = await engine.work.statistics("test.things")
    assert (empty.ready, empty.due, empty.oldest_due_seconds, empty.paused) == (0, 0, None, False)
    await kit.things.add(3, due_in=-100)
    await kit.things.add(2, owner="b", priority=5, due_in=-10)
    await kit.things.add(4, due_in=3600)
    await kit.things.add(2, note="r")
    await kit.things.set("state = 'running', claim = 1", "note = 'r'")
    await kit.things.add(1, note="b")
    await kit.things.set("state = 'buried'", "note = 'b'")
    found = await engine.work.statistics("test.things")
    assert (found.ready, found.due, found.running, found.buried, found.held) == (9, 5, 2, 1, 0)
    assert 99 < found.oldest_due_seconds < 130


async def test_statistics_are_cheap_however_many_rows_wait(kit):
    engine, _, _ = await prepared(kit)
    await kit.things.add(30_000)
    await kit.db.owner.execute(sql("test.analyze", "ANALYZE wharfd.things"))
    found = await engine.work.statistics("test.things")
    assert (found.ready, found.due) == (10_000, 10_000)


async def test_rates_are_those_of_all_daemons(kit):
    engines = [kit.engine("one"), kit.engine("two")]
    for engine in engines:
        queue = await engine.prepare("test", kit.queue(succeed))
        rates = Rates(kit.db, engine.queues.values)
        queue.counters.done += 30
        queue.counters.arrived += 40
        await rates.flush()
        await rates.flush()
        queue.counters.done += 20
        await rates.flush()
    await kit.things.fetch("UPDATE wharfd.queue_rates SET minute = minute - interval '1 minute' RETURNING 1")
    found = await engines[0].work.statistics("test.things")
    assert (found.done_per_minute, found.arrived_per_minute) == (100 / 5, 80 / 5)


async def test_a_paused_queue_is_left_alone_by_all_until_resumed(kit):
    engine, _, records = await prepared(kit)
    assert await engine.work.pause("test.things", actor="anna")
    assert not await engine.work.pause("test.things", actor="anna")
    await kit.things.add(5)
    async with kit.open_engine("two") as other, kit.work(succeed, engine=other) as runner:
        assert await runner._claimer.claim(10) == []
        assert (await engine.work.statistics("test.things")).paused
        assert await engine.work.resume("test.things", actor="anna")
        assert not await engine.work.resume("test.things", actor="anna")
        assert await kit.settled() == {"done": 5}
    assert [record[:3] for record in records] == [
        ("anna", "work.paused", "test.things"),
        ("anna", "work.resumed", "test.things"),
    ]


async def test_buried_rows_are_listed_latest_first_page_by_page(kit):
    ids = await kit.things.add(7, note="x")
    engine, queue, _ = await prepared(kit, fail)
    async with kit.running(engine, queue):
        await kit.settled()
    pages, cursor = [], None
    while True:
        page = await engine.work.buried("test.things", cursor, limit=3)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    rows = [row for page in pages for row in page]
    assert sorted(int(row.key) for row in rows) == ids
    assert rows == sorted(rows, key=lambda row: (row.buried_at, int(row.key)), reverse=True)
    assert rows[0].reason == "no x"
    assert rows[0].row["note"] == "x"
    assert rows[0].history[-1]["state"] == "buried"
    msgspec.json.encode(rows)
    with pytest.raises(ValueError, match="cursor"):
        await engine.work.buried("test.things", "nonsense")


async def test_requeue_gives_all_attempts_back_and_keeps_the_history(kit):
    keys = await kit.things.add(3)
    engine, queue, records = await prepared(kit, fail)
    async with kit.running(engine, queue):
        await kit.settled()
    assert await engine.work.requeue("test.things", [str(keys[0])], actor="anna") == 1
    row = await kit.things.get(keys[0])
    assert (row["state"], row["attempts"], row["finished_at"]) == ("ready", 0, None)
    assert [entry["state"] for entry in row["history"]] == ["buried", "requeued"]
    assert row["history"][-1]["error"] == "by anna"
    assert records == [("anna", "work.requeued", "test.things", {"rows": 1, "row_keys": [str(keys[0])]})]
    assert redact_fields(records[0][3]) == records[0][3]  # the audit log shows which
    assert await engine.work.requeue("test.things", [str(keys[0])], actor="anna") == 0
    assert await engine.work.retry_all("test.things", actor="anna") == 2
    async with kit.work(succeed):
        assert await kit.settled() == {"done": 3}


async def test_requeue_by_what_rows_hold_has_no_silent_limit(kit):
    await kit.things.add(2300, note="mine")
    await kit.things.add(10, note="other")
    await kit.things.set("state = 'buried', finished_at = now()")
    engine, _, _ = await prepared(kit)
    assert await engine.work.requeue("test.things", where={"note": "mine"}, actor="anna") == 2300
    assert await kit.things.states() == {"ready": 2300, "buried": 10}
    assert await engine.work.cancel("test.things", where={"note": "mine"}, actor="anna") == 2300
    assert await kit.things.states() == {"cancelled": 2300, "buried": 10}
    assert (await engine.work.requeue("test.things", where={}, states=["cancelled"], actor="anna")) == 2300


async def test_wrong_questions_are_answered_in_words(kit):
    engine, _, _ = await prepared(kit, retry=Retry(attempts=1))
    with pytest.raises(UnknownQueue, match=r"'test\.thing' here; did you mean 'test\.things'"):
        await engine.work.statistics("test.thing")
    with pytest.raises(UnknownQueue):
        await engine.work.bound("other").statistics("test.things")
    with pytest.raises(ValueError, match="no column 'nope'"):
        await engine.work.requeue("test.things", where={"nope": 1}, actor="anna")
    with pytest.raises(ValueError, match="give keys or where"):
        await engine.work.requeue("test.things", actor="anna")
    with pytest.raises(ValueError, match="'running' cannot be chosen"):
        await engine.work.requeue("test.things", where={}, states=["running"], actor="anna")
    with pytest.raises(WharfdError, match="does not fit queue"):
        await engine.work.requeue("test.things", ["not a number"], actor="anna")
    bound = engine.work.bound("test")
    assert (await bound.statistics("things")).queue == "test.things"
    assert bound.names() == ["test.things"]
    assert engine.work.bound("other").names() == []
