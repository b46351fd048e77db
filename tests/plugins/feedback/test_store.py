"""Counters equal a recount whatever is done at once; versions; plans."""

import random

import pytest
import trio

from wharfd import Migrations, sql
from wharfd_feedback import store

DELETE = sql("test.delete", "DELETE FROM feedback.feedback WHERE insight_id = $1 AND user_id = $2")
CLEAR = sql("test.clear", "DELETE FROM feedback.feedback")
IDS = sql("test.ids", "SELECT id FROM feedback.feedback WHERE flag_state IS NOT NULL ORDER BY id")
MANY = sql(
    "test.many",
    """INSERT INTO feedback.feedback (id, owner, insight_id, user_id, comment, commented_at, flag_type,
      flag_reason, flag_state, flagged_at)
    SELECT 'fb_' || n, 'o' || n % 5, 'i' || n % 50, 'u' || n, 'c', now() - n * interval '1 second',
      CASE WHEN n % 10 = 0 THEN 'spam' END, CASE WHEN n % 10 = 0 THEN 'r' END,
      CASE WHEN n % 10 = 0 THEN 'open' END, CASE WHEN n % 10 = 0 THEN now() - n * interval '1 second' END
    FROM generate_series(1, 20000) n""",
)
ANALYZE = sql("test.analyze", "ANALYZE feedback.feedback, feedback.counters")


@pytest.fixture
def migrations():
    return [("feedback", Migrations("wharfd_feedback"))]


async def equal(db, insight, owner=None):
    counted = await store.counters(db, insight, owner)
    recount = dict(await db.fetchrow(store.RECOUNT, insight, owner))
    assert counted == recount
    return counted


async def step(db, dice):
    """One change, as a user, a moderator or retention makes it."""
    insight, user, owner = f"i{dice.randrange(2)}", f"u{dice.randrange(4)}", dice.choice([None, "a", "b"])
    kind = dice.randrange(6)

    async def unit(tx):
        if kind == 0:
            await store.save(tx, owner, insight, user, rating=dice.randint(1, 5))
        elif kind == 1:
            await store.save(tx, owner, insight, user, comment=dice.choice(["x", "y"]))
        elif kind == 2:
            flag = (dice.choice(["inaccurate", "misleading", "spam"]), dice.choice(["r", "s"]))
            await store.save(tx, owner, insight, user, flag=flag)
        elif kind == 3:
            await store.save(tx, owner, insight, user, rating=dice.randint(1, 5), comment="z")
        elif kind == 4:
            ids = [row["id"] for row in await tx.fetch(IDS)]
            if ids:
                await tx.execute(
                    store.MODERATE, dice.choice(ids), dice.choice(["upheld", "dismissed", "open"]), "m", None
                )
        else:
            await tx.execute(DELETE, insight, user)

    await db.repeat(unit, attempts=20)


@pytest.mark.parametrize("seed", range(6))
async def test_counters_equal_a_recount_under_concurrency(db, seed):
    """Eight writers of random changes at once on few rows; then every counter equals what is counted anew."""

    async def write(number):
        dice = random.Random(1000 * seed + number)
        for _ in range(12):
            await step(db, dice)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(write, number)
    for insight in ("i0", "i1"):
        for owner in (None, "a", "b"):
            await equal(db, insight, owner)
    await db.execute(CLEAR)
    assert set((await equal(db, "i0")).values()) == {0}


async def test_one_row_per_user_and_insight_however_many_write_at_once(db):
    async def write():
        async with db.transaction() as tx:
            await store.save(tx, None, "i", "u", rating=3)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(write)
    assert (await equal(db, "i"))["rating_3"] == 1
    assert await store.present_version(db, None, "i", "u") == 10


async def test_of_two_who_read_the_same_version_one_wins(db):
    async with db.transaction() as tx:
        await store.save(tx, "a", "i", "u", rating=1)
    won = []

    async def write(rating):
        async with db.transaction() as tx:
            if await store.save(tx, "a", "i", "u", rating=rating, version=1) is not None:
                won.append(rating)

    async with trio.open_nursery() as nursery:
        for rating in (2, 3, 4):
            nursery.start_soon(write, rating)
    assert len(won) == 1
    assert (await equal(db, "i"))[f"rating_{won[0]}"] == 1


async def test_what_is_not_said_stays(db):
    async with db.transaction() as tx:
        await store.save(tx, None, "i", "u", rating=4, comment="first")
    async with db.transaction() as tx:
        row = await store.save(tx, None, "i", "u", flag=("spam", "ads"))
    assert (row["rating"], row["comment"], row["flag_state"], row["version"]) == (4, "first", "open", 2)


async def test_a_decided_flag_opens_again_only_when_it_changes(db):
    async with db.transaction() as tx:
        row = await store.save(tx, None, "i", "u", flag=("spam", "ads"))
        assert row["newly_flagged"]
        await tx.execute(store.MODERATE, row["id"], "dismissed", "m", None)
    assert (await equal(db, "i"))["spam"] == 0
    async with db.transaction() as tx:
        same = await store.save(tx, None, "i", "u", flag=("spam", "ads"))
    assert (same["flag_state"], same["newly_flagged"]) == ("dismissed", False)
    async with db.transaction() as tx:
        other = await store.save(tx, None, "i", "u", flag=("spam", "more ads"))
    assert (other["flag_state"], other["newly_flagged"]) == ("open", True)
    assert (await equal(db, "i"))["spam"] == 1


async def test_lists_are_served_by_their_indexes(db):
    await db.owner.execute(MANY)
    await db.owner.execute(ANALYZE)
    for statement, values, index in (
        (store.COMMENTS, ("i1", None, None, None, 21, 0), "feedback_comments"),
        (store.OWN_COMMENTS, ("i1", "o1", None, None, 21, 0), "feedback_owner_comments"),
        (store.OF_USER, ("u1", None, None, None, 51, 0), "feedback_by_user"),
        (store.COUNT_OF_USER, ("u1", None), "feedback_by_user"),
        (store.FLAGS, ("open", None, None, None, 51), "feedback_flags"),
        (store.STATISTICS, ("i1", None), "counters"),
    ):
        plan = await db.explain(statement, *values)
        assert index in plan, plan
