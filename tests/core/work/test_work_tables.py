"""Which tables can be worked, what is said of the others, and that every statement finds its index."""

from __future__ import annotations

import re

import msgspec
import pytest

from wharfd.db import quoted, sql
from wharfd.db.partitions import ensure
from wharfd.declare import WorkQueue
from wharfd.errors import WorkTableError
from wharfd.work import inspecting
from wharfd.work.table import Column, Index, find_problems, index_of


async def handler(ctx, job):
    pass


class Row(msgspec.Struct):
    id: int


def queue(table="wharfd.bare", **more):
    return WorkQueue(name="bare", table=table, row=more.pop("row", Row), handler=handler, **more)


async def test_a_table_that_is_not_there(kit):
    with pytest.raises(WorkTableError, match=r"table wharfd\.nothing does not exist"):
        await kit.engine().prepare("test", queue("wharfd.nothing"))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lane": ("owner", "a")},
        {"fair_by": "owner"},
        {"fair_by": "owner", "per_key": 3},
        {"fair_by": "owner", "ordered": True},
        {"fair_by": "owner", "ordered": True, "skip_buried": True},
        {"lane": ("part", "x"), "fair_by": "owner", "per_key": 3},
    ],
)
async def test_what_is_missing_is_said_as_sql_that_mends_it(kit, more):
    await kit.db.owner.execute(
        sql(
            "test.bare",
            "CREATE TABLE wharfd.bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "owner text NOT NULL, part text NOT NULL)",
        )
    )
    engine = kit.engine()
    with pytest.raises(WorkTableError) as raised:
        await engine.prepare("test", queue(**more))
    for sentence in str(raised.value).splitlines():
        await kit.db.owner.execute(sql("test.mend", sentence.partition("; add ")[2]))
    bare = await engine.prepare("test", queue(**more))
    assert await engine.runner(bare, None)._claimer.claim(5) == []


def test_problems_in_words():
    good = {
        "id": Column("bigint", True),
        "state": Column("text", True),
        "priority": Column("smallint", True),
        "due_at": Column("timestamp with time zone", True),
        "attempts": Column("integer", True),
        "claim": Column("bigint", False),
        "lease_until": Column("timestamp with time zone", False),
        "last_error": Column("text", False),
        "history": Column("jsonb", False),
        "finished_at": Column("timestamp with time zone", False),
    }
    indexes = [
        Index(("id",), unique=True),
        index_of(["priority", "due_at"], False, "(state = 'ready'::text)"),
        index_of(["id"], False, "(state = 'running'::text)"),
        index_of(["state", "finished_at"], False, "(state = ANY (ARRAY['buried'::text, 'held'::text]))"),
    ]
    assert find_problems(queue(), good, indexes) == []

    def one(columns=good, indexes=indexes, **more):
        (problem,) = find_problems(queue(**more), columns, indexes)
        return problem

    assert "must be smallint NOT NULL" in one(good | {"priority": Column("integer", True)})
    assert "column id must be NOT NULL" in one(good | {"id": Column("bigint", False)})
    assert "did you mean 'id'" in one(row=msgspec.defstruct("Typo", [("idd", int)]))
    assert "no unique index on (id)" in one(indexes=indexes[1:])
    assert "CREATE INDEX bare_running ON wharfd.bare (id) WHERE state = 'running';" in one(
        indexes=[indexes[0], indexes[1], indexes[3]]
    )


@pytest.mark.parametrize(
    ("predicate", "states"),
    [
        ("(state = 'ready'::text)", {"ready"}),
        ("(state = ANY (ARRAY['ready'::text, 'running'::text]))", {"ready", "running"}),
        ("((state = 'ready'::text) AND (owner IS NOT NULL))", set()),
        ("(state <> 'ready'::text)", set()),
        ("", set()),
    ],
)
def test_only_a_plain_predicate_on_the_state_serves(predicate, states):
    assert index_of(["a"], False, predicate).states == states


SHAPES = {
    "plain": {},
    "fair": {"fair_by": "owner"},
    "capped": {"fair_by": "owner", "per_key": 3},
    "ordered": {"fair_by": "owner", "ordered": True},
    "batch": {"batch": 10},
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_statement_finds_its_index_in_a_big_table(kit, shape):
    """Rows that are done, and rows that are not due, are the many; nothing may read them."""
    await kit.things.fetch(
        """INSERT INTO wharfd.things (owner, state, due_at)
        SELECT 'o' || i % 300, CASE WHEN i % 10 = 0 THEN 'ready' ELSE 'done' END, now() + interval '1 day'
        FROM generate_series(1, 60000) i RETURNING 1"""
    )
    await kit.things.add(20)
    await kit.db.owner.execute(sql("test.analyze", "VACUUM ANALYZE wharfd.things"))
    engine = kit.engine()
    prepared = await engine.prepare("test", kit.queue(handler, **SHAPES[shape]))
    runner = engine.runner(prepared, None)
    jobs = []
    runner._claimer.more = True
    while runner._claimer.more:
        jobs += await runner._claimer.claim(10)
    assert len(jobs) == (1 if shape == "ordered" else 3 if shape == "capped" else 20)
    statements = prepared.statements
    fences = prepared.fences(jobs)
    for statement, arguments in [
        (statements.done, fences),
        (statements.ours, fences),
        (statements.extend, [*fences, 60.0]),
        (statements.recover, [3, 1.0]),
        (statements.next_due, []),
        (inspecting.counts(prepared), []),
        (inspecting.buried(prepared, on=False), [10]),
    ]:
        if statement is not None:
            plan = await kit.db.explain(statement, *arguments)
            assert "Seq Scan on wharfd.things" not in plan, plan
    claim = [10, 1, 60.0, "test.things"]
    claim += [] if shape in ("plain", "batch", "ordered") else [5] if shape == "fair" else [5, 3]
    plan = await kit.db.explain(statements.claim, *claim)
    assert "Seq Scan on wharfd.things" not in plan, plan
    slowest = max(s.max_seconds for s in kit.db.statistics().statements if "claim" in s.name)
    assert slowest < 3


async def test_rows_of_a_high_priority_that_are_not_due_are_not_read(kit):
    await kit.things.fetch(
        """INSERT INTO wharfd.things (priority, due_at)
        SELECT 1, now() + interval '1 day' FROM generate_series(1, 50000) RETURNING 1"""
    )
    (key,) = await kit.things.add(priority=200)
    await kit.db.owner.execute(sql("test.analyze", "VACUUM ANALYZE wharfd.things"))
    engine = kit.engine()
    prepared = await engine.prepare("test", kit.queue(handler))
    plan = "\n".join(
        row[0]
        for row in await kit.things.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF) {_literal(prepared.statements.claim)}"
        )
    )
    assert "Index Searches" in plan or "Index Scan" in plan
    top = next(line for line in plan.splitlines() if "Buffers" in line)
    assert sum(int(n) for n in re.findall(r"(?:hit|read)=(\d+)", top)) < 200, plan
    assert (await kit.things.get(key))["state"] == "running"


def _literal(statement):
    text = str(statement)
    for number, value in ((4, "'test.things'"), (3, "60"), (2, "1"), (1, "10")):
        text = text.replace(f"${number}", value)
    return text


async def test_a_partitioned_table_is_worked_by_its_whole_key(kit):
    await kit.db.owner.execute(
        sql(
            "test.parted",
            f"""CREATE TABLE wharfd.parted (id bigint NOT NULL, made_at timestamptz NOT NULL DEFAULT now(),
  {kit.COLUMNS}, PRIMARY KEY (id, made_at)) PARTITION BY RANGE (made_at);
CREATE INDEX parted_ready ON wharfd.parted (priority, due_at) WHERE state = 'ready';
CREATE INDEX parted_running ON wharfd.parted (id) WHERE state = 'running';
CREATE INDEX parted_parked ON wharfd.parted (state, finished_at) WHERE state IN ('buried', 'held')""",
        )
    )
    await ensure(kit.db.owner, ["wharfd.parted"])
    # The same ids twice, and in two months: only the whole key tells rows apart.
    await kit.things.fetch(
        """INSERT INTO wharfd.parted (id, made_at) SELECT i, now() + m * interval '1 month'
        FROM generate_series(1, 50) i, generate_series(0, 1) m RETURNING 1"""
    )
    seen = []

    async def handle(ctx, batch):
        for job in batch:
            seen.append(job.key)
            if job.row.id == 7:
                job.finish(ValueError("seven"))

    engine = kit.engine()
    declared = WorkQueue(
        name="parted",
        table="wharfd.parted",
        row=Row,
        handler=handle,
        key=("id", "made_at"),
        batch=9,
        retry=kit.QUICK,
    )
    prepared = await engine.prepare("test", declared)

    async def settled():
        rows = await kit.things.fetch("SELECT state, count(*) FROM wharfd.parted GROUP BY 1")
        return dict(rows) == {"done": 98, "buried": 2}

    async with kit.running(engine, prepared):
        await kit.wait_for(settled)
    assert len(set(seen)) == 100
    page = await engine.work.buried("test.parted", limit=1)
    rest = await engine.work.buried("test.parted", page.next_cursor)
    keys = [row.key for row in (*page.items, *rest.items)]
    assert len(set(keys)) == 2
    assert await engine.work.requeue("test.parted", [keys[0]], actor="anna") == 1
    plan = await kit.db.explain(
        prepared.statements.done, [1], [(await kit.things.fetch("SELECT now()"))[0][0]], [1]
    )
    assert quoted("wharfd.parted").replace('"', "") in plan
    # Finishing one pair of (id, month) must not touch the other three of the square.
    async with kit.db.transaction() as tx:
        await tx.execute(
            sql("test.run", "UPDATE wharfd.parted SET state = 'running', claim = 5 WHERE id IN (1, 2)")
        )
        months = [
            row[0]
            for row in await tx.fetch(sql("test.m", "SELECT DISTINCT made_at FROM wharfd.parted ORDER BY 1"))
        ]
        records = await tx.fetch(prepared.statements.done, [1, 2], months, [5, 5])
    assert sorted(map(tuple, records)) == [(1, months[0]), (2, months[1])]
