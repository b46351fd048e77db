"""Every list and look-up is served by an index, looked at on tables with enough rows to matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wharfd import Request, sql
from wharfd.contracts.access import Identity
from wharfd_netbanx.api import accounts, events, sources, statements, transactions
from wharfd_netbanx.api.analytics import SUMS
from wharfd_netbanx.api.listing import Filter, _list
from wharfd_netbanx.processing import store as processing
from wharfd_netbanx.reconciling import OPEN

FILL = [
    """INSERT INTO netbanx.events (id, source, owner, trace_id, identity, content, name, resource_id, merchant_ref,
  receipt, body, state, finished_at)
SELECT 'evt_' || lpad(n::text, 26, '0'), CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'netbanx' END,
  CASE WHEN n % 50 = 0 THEN 'acme' END, 't', decode(md5(n::text), 'hex'), '\\x00',
  'PAYMENT_' || CASE WHEN n % 3000 = 0 THEN 'ODD' ELSE (n % 4)::text END, 'res' || n, 'ref' || n / 3, '{}', '\\x7b7d',
  CASE WHEN n % 4000 = 0 THEN 'buried' ELSE 'done' END, now() FROM generate_series(1, 20000) n""",
    """INSERT INTO netbanx.transactions (id, source, type, external_id, owner, created_at, status, amount, currency,
  merchant_ref, method, account_id, parent_id, event_id)
SELECT 'txn_' || lpad(n::text, 26, '0'), 'netbanx', 'PAYMENT', 'ext' || n, CASE WHEN n % 50 = 0 THEN 'acme' END,
  now() - n * interval '1 minute', CASE WHEN n % 2000 = 0 THEN 'FAILED' WHEN n % 500 = 0 THEN 'PENDING' ELSE 'COMPLETED' END,
  n, CASE WHEN n % 2000 = 1 THEN 'JPY' ELSE 'EUR' END, 'ref' || n, CASE WHEN n % 2000 = 2 THEN 'EPS' ELSE 'CARD' END,
  'acc' || n % 500, 'par' || n / 2, 'evt' FROM generate_series(1, 20000) n""",
    """INSERT INTO netbanx.accounts (id, source, external_id, owner, first_seen_at, status, stage, event_id)
SELECT 'acc_' || lpad(n::text, 26, '0'), 'netbanx', 'ext' || n, CASE WHEN n % 50 = 0 THEN 'acme' END,
  now() - n * interval '1 minute', CASE WHEN n % 1000 = 0 THEN 'DISABLED' ELSE 'ENABLED' END,
  CASE WHEN n % 1000 = 1 THEN 'KYC' ELSE 'COMPLETE' END, 'evt' FROM generate_series(1, 20000) n""",
    """INSERT INTO netbanx.rollups (grain, bucket, type, status, currency, method, shard, count, amount)
SELECT g, date_trunc('hour', now()) - n * interval '1 hour', 'PAYMENT', 'COMPLETED', 'EUR', 'M' || m, 0, 1, 1
FROM generate_series(1, 2000) n, generate_series(1, 4) m, unnest(ARRAY['hour', 'minute']) g""",
    "ANALYZE netbanx.events; ANALYZE netbanx.transactions; ANALYZE netbanx.accounts; ANALYZE netbanx.rollups",
]


@pytest.fixture
async def filled(db):
    for text in FILL:
        await db.owner.execute(sql("test.fill", text))
    return db


async def plan(db, statement, *values):
    rows = await db.fetch(sql("test.plan", f"EXPLAIN {statement.text}"), *values)
    return "\n".join(row[0] for row in rows)


def events_list(*equal, **bounds):
    chosen = {"low": False, "high": False, "ids": False, "by_source": False} | bounds
    return statements.list_statement(equal, **chosen)


async def test_event_lists(filled):
    cases = [
        (events_list(), (50,), "_pkey"),
        (events_list(high=True), ("evt_1", 50), "_pkey"),
        (events_list("owner"), ("acme", 50), "owner_id_idx"),
        (events_list("name", by_source=True), ("PAYMENT_ODD", ["netbanx", "rare"], 50), "source_name_id_idx"),
        (events_list("source", "name"), ("rare", "PAYMENT_0", 50), "source_name_id_idx"),
        (events_list("state"), ("buried", 50), "state_finished_at_idx"),
        (events_list("resource_id"), ("res17", 50), "resource_id_id_idx"),
        (events_list("merchant_ref"), ("ref17", 50), "merchant_ref_id_idx"),
        (events_list(ids=True), (["evt_1", "evt_2"], 50), "_pkey"),
        (events.FIND, ("evt_1", None), "_pkey"),
        (sources.LAST_SEEN, ("netbanx",), "source_name_id_idx"),
    ]
    for statement, values, index in cases:
        found = await plan(filled, statement, *values)
        assert index in found, f"{statement.text}\n{found}"
        assert f"Seq Scan on events_y{datetime.now(UTC):%Ym%m}" not in found, found  # later months are empty


def listed(table, filters, several=None, count=0, after=False):
    return _list(table, tuple((f.column, f.operator) for f in filters), several, count, after, False)


async def test_transaction_lists(filled):
    def case(*filters, several=None, values=(), after=False):
        count = len(values) if several else 0
        statement = listed(transactions.TABLE, filters, several, count, after)
        return statement, (*[f.value for f in filters], *values, 51)

    cases = [
        (*case(), "transactions_created_at"),
        (
            *case(values=((await filled.fetchval(sql("test.now", "SELECT now()"))), "txn_1"), after=True),
            "transactions_created_at",
        ),
        (*case(several="status", values=("FAILED", "EXPIRED")), "transactions_status"),
        (*case(several="status", values=("HELD",)), "transactions_status"),
        (*case(Filter("currency", "JPY")), "transactions_currency"),
        (*case(Filter("type", "REFUND")), "transactions_type"),
        (*case(Filter("method", "EPS")), "transactions_method"),
        (*case(Filter("merchant_ref", "ref7")), "transactions_merchant_ref"),
        (*case(Filter("account_id", "acc7")), "transactions_account"),
        (*case(Filter("owner", "acme")), "transactions_owner"),
        (
            *case(Filter("owner", "acme"), several="status", values=("FAILED", "EXPIRED")),
            "transactions_owner_status",
        ),
        (transactions.FIND, ("ext7", None), "transactions_external_id"),
        (transactions.RELATED, ("par7", "netbanx", None), "transactions_parent"),
        (
            OPEN,
            ("netbanx", timedelta(0), timedelta(days=400), 50),
            "transactions_open",
        ),
        (processing.READ_TRANSACTIONS, (["ext7"], ["netbanx"], ["PAYMENT"]), "transactions_external_id"),
    ]
    for statement, values, index in cases:
        found = await plan(filled, statement, *values)
        assert index in found, f"{statement.text}\n{found}"
        assert "Seq Scan on transactions" not in found, found


async def test_account_lists_and_rollups(filled):
    cases = [
        (listed(accounts.TABLE, []), (51,), "accounts_first_seen"),
        (listed(accounts.TABLE, [Filter("stage", "KYC")]), ("KYC", 51), "accounts_stage"),
        (listed(accounts.TABLE, [Filter("owner", "acme")]), ("acme", 51), "accounts_owner"),
        (listed(accounts.TABLE, [], "status", 1), ("DISABLED", 51), "accounts_status"),
        (accounts.FIND, ("ext7", None), "accounts_external_id"),
        (SUMS, ("hour", datetime.now(UTC) - timedelta(hours=24), None), "rollups_pkey"),
    ]
    for statement, values, index in cases:
        found = await plan(filled, statement, *values)
        assert index in found, f"{statement.text}\n{found}"


def test_a_request_of_an_owner_carries_it():
    assert Request(identity=Identity("a", "key", owner="acme")).owner == "acme"
