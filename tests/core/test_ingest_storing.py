"""Finding the rows at fault in a group, and telling an outage from a bad row. No database needed."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from asyncpg import exceptions as pg
from hypothesis import given
from hypothesis import strategies as st

from wharfd.errors import DatabaseBusy, DatabaseUnavailable, StatementTimeout
from wharfd.ingest import Reply
from wharfd.ingest.failures import describe, is_collision, is_outage, sole_cause
from wharfd.ingest.storing import StoreError, store_group


class Ledger:
    """A list that is only changed by a transaction that ends well."""

    def __init__(self):
        self.rows = []
        self.transactions = 0

    @asynccontextmanager
    async def transaction(self):
        self.transactions += 1
        written = []
        yield written
        self.rows += written


class BadRow(Exception):
    pass


def store(bad, *, error=BadRow):
    async def store_rows(ctx, tx, admissions):
        await trio.lowlevel.checkpoint()
        for admission in admissions:
            if admission in bad:
                raise error("secret value")
            tx.append(admission)
        return [Reply(200, b"%d" % admission) for admission in admissions]

    return store_rows


async def outcomes_of(ledger, function, admissions):
    return await store_group(ledger.transaction, function, None, admissions, attempt_seconds=5)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_rows_at_fault_fail_alone(case):
    count, bad = case
    ledger = Ledger()
    outcomes = trio.run(outcomes_of, ledger, store(bad), list(range(count)))
    assert len(outcomes) == count
    good = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Reply)]
    assert sorted(ledger.rows) == good
    assert [outcomes[n].body for n in good] == [b"%d" % n for n in good]
    assert set(good) <= set(range(count)) - bad
    if not bad >= set(range(min(count, 8))):  # a store that takes nothing is given up on after eight
        assert set(good) == set(range(count)) - bad


async def test_one_bad_row_costs_few_transactions():
    ledger = Ledger()
    await outcomes_of(ledger, store({100}), list(range(256)))
    assert ledger.transactions <= 2 * 8 + 1


async def test_broken_store_function_is_not_tried_row_by_row():
    ledger = Ledger()
    outcomes = await outcomes_of(ledger, store(set(range(256))), list(range(256)))
    assert all(isinstance(outcome, BadRow) for outcome in outcomes)
    assert ledger.transactions < 30


async def test_wrong_number_of_replies_rolls_back():
    async def forgetful(ctx, tx, admissions):
        tx.extend(admissions)
        return []

    ledger = Ledger()
    [outcome] = await outcomes_of(ledger, forgetful, [1])
    assert isinstance(outcome, StoreError)
    assert "returned 0 replies for 1 admissions" in str(outcome)
    assert ledger.rows == []


async def test_transaction_that_does_not_open_is_an_outage():
    @asynccontextmanager
    async def locked_out():
        await trio.lowlevel.checkpoint()
        raise pg.InvalidPasswordError("wrong")
        yield

    with pytest.raises(DatabaseUnavailable, match="could be opened: InvalidPasswordError 28P01"):
        await store_group(locked_out, store(set()), None, [1, 2], attempt_seconds=5)


async def test_outage_is_raised_and_decides_nothing():
    ledger = Ledger()
    with pytest.raises(DatabaseUnavailable):
        await outcomes_of(ledger, store({3}, error=DatabaseUnavailable), list(range(8)))
    assert ledger.rows == []


async def test_too_slow_an_attempt_is_an_outage():
    async def hang(ctx, tx, admissions):
        await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await store_group(Ledger().transaction, hang, None, [1], attempt_seconds=0.01)


async def test_collision_is_tried_again(autojump_clock):
    tries = 0

    async def collide(ctx, tx, admissions):
        nonlocal tries
        tries += 1
        if tries < 4:
            raise pg.DeadlockDetectedError("again")
        return [Reply() for _ in admissions]

    assert await outcomes_of(Ledger(), collide, [1, 2]) == [Reply(), Reply()]
    tries = -100
    outcomes = await outcomes_of(Ledger(), collide, [1])
    assert isinstance(outcomes[0], pg.DeadlockDetectedError)


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable(),
        DatabaseBusy(),
        StatementTimeout(),
        ConnectionRefusedError(),
        TimeoutError(),
        trio.TooSlowError(),
        pg.ConnectionDoesNotExistError(),
        pg.AdminShutdownError(),
        pg.CannotConnectNowError(),
        pg.DiskFullError(),
        pg.TooManyConnectionsError(),
        pg.ReadOnlySQLTransactionError(),
        pg.QueryCanceledError(),
        pg.PostgresIOError(),
    ],
)
def test_outages(error):
    assert is_outage(error)
    assert not is_collision(error)
    assert is_outage(sole_cause(ExceptionGroup("one", [ExceptionGroup("inner", [error])])))


@pytest.mark.parametrize(
    "error",
    [
        pg.UniqueViolationError(),
        pg.DataError(),
        pg.UndefinedTableError(),
        pg.InsufficientPrivilegeError(),
        KeyError("x"),
        ExceptionGroup("two", [DatabaseUnavailable(), KeyError("x")]),
    ],
)
def test_faults_of_rows(error):
    assert not is_outage(sole_cause(error))
    assert not is_collision(error)


async def test_description_names_the_place_and_no_value():
    [outcome] = await outcomes_of(Ledger(), store({1}), [1])
    assert describe(outcome).startswith("BadRow at test_ingest_storing.py:")
    assert "secret" not in describe(outcome)
    assert describe(pg.UniqueViolationError("secret")) == "UniqueViolationError 23505"


async def test_a_store_function_that_commits_by_itself_gets_the_database():
    ledger, database = Ledger(), object()
    calls = []

    async def one_statement(ctx, db, admissions):
        calls.append((db, list(admissions)))
        if 3 in admissions:
            raise ValueError("three")
        return [Reply(200, b"%d" % admission) for admission in admissions]

    outcomes = await store_group(
        ledger.transaction, one_statement, None, [1, 2, 3, 4], attempt_seconds=5, database=database
    )
    assert [getattr(outcome, "body", type(outcome)) for outcome in outcomes] == [b"1", b"2", ValueError, b"4"]
    assert all(db is database for db, _ in calls)
