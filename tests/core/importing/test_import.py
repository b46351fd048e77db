"""`wharfd import` against tables as the five old systems have them, in a real PostgreSQL."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trio
import zstandard

import wharfd_backfill
import wharfd_feedback
import wharfd_integrations
import wharfd_metrics
import wharfd_mint
import wharfd_netbanx
import wharfd_orders
import wharfd_webhooks
from wharfd.app import assemble
from wharfd.config import load_configuration
from wharfd.db import sql
from wharfd.db.bridge import unwrapped
from wharfd.importing.errors import ImportRefused, SourceError
from wharfd.importing.running import Wish, opened_for_import, run_import
from wharfd.loading import LoadedPlugin

OLD = Path(__file__).with_name("old_tables.sql")
PLUGINS = {
    module.__name__.removeprefix("wharfd_"): module
    for module in (
        wharfd_netbanx,
        wharfd_webhooks,
        wharfd_integrations,
        wharfd_orders,
        wharfd_mint,
        wharfd_backfill,
        wharfd_feedback,
        wharfd_metrics,
    )
}


@pytest.fixture
def migrations():
    return [(name, module.register_migrations()) for name, module in PLUGINS.items()]


@pytest.fixture
def old(postgres):
    """The URL of a database with the old tables."""
    postgres.psql("postgres", "DROP DATABASE IF EXISTS old_systems WITH (FORCE)")
    postgres.psql("postgres", "CREATE DATABASE old_systems OWNER wharfd_owner")
    postgres.psql("old_systems", "SET ROLE wharfd_owner;" + OLD.read_text())
    yield postgres.dsn("old_systems", "wharfd_owner")
    postgres.psql("postgres", "DROP DATABASE IF EXISTS old_systems WITH (FORCE)")


def config_of(settings):
    urls = f'[database]\nurl = "{settings.url}"\nowner_url = "{settings.owner_url}"\n'
    return urls + "".join(f"[plugins.{name}]\n" for name in PLUGINS)


@pytest.fixture
def prepared(database_settings, tmp_path):
    text = config_of(database_settings)
    found = [LoadedPlugin(name, "the test", module=module) for name, module in PLUGINS.items()]
    return assemble(load_configuration(text, {}), found, path=None, state_dir=tmp_path / "state")


@pytest.fixture
def take(prepared):
    """Run imports one after the other on the same database, and look at what stands there."""

    async def run(*wishes, look=()):
        reports = []
        with unwrapped():
            async with opened_for_import(
                prepared.configuration, prepared.registry, prepared.state_dir
            ) as opened:
                machinery, bridge = opened
                for wish in wishes:
                    reports.append(await run_import(machinery, prepared.registry, bridge, wish))
                seen = [
                    [tuple(row.values()) for row in await machinery.db.fetch(sql(f"look_{n}", query))]
                    for n, query in enumerate(look)
                ]
        return (*reports, *seen)

    return run


def states(report):
    return {one.importer: one.state for one in report.outcomes}


def remarks(report, importer):
    (one,) = [one for one in report.outcomes if one.importer == importer]
    return [(remark["refused"], remark["rows"], remark["remark"]) for remark in one.remarks]


async def test_everything_comes_over_and_is_compared(old, take):
    plan, first, second, *seen = await take(
        Wish(where=old, mode="plan"),
        Wish(where=old, page_size=40),
        Wish(where=old, page_size=7),
        look=[
            "SELECT state, count(*) FROM netbanx.events GROUP BY 1 ORDER BY 1",
            "SELECT sum(count)::int, sum(amount)::int FROM netbanx.rollups WHERE grain = 'all' AND type <> 'EVENT'",
            "SELECT count(*)::int, sum(amount)::int FROM netbanx.transactions",
            "SELECT state, count(*) FROM webhooks.deliveries GROUP BY 1 ORDER BY 1",
            (
                "SELECT b.id, t.state, sum(t.rows)::int FROM orders.batches b JOIN orders.tally t ON t.batch = b.number "
                "GROUP BY 1, 2 HAVING sum(t.rows) > 0 ORDER BY 1, 2"
            ),
            "SELECT state, tx_hash IS NOT NULL, count(*) FROM mint.intents GROUP BY 1, 2 ORDER BY 1",
            "SELECT tier, taken FROM mint.tiers ORDER BY 1",
            "SELECT status, current_block FROM backfill.jobs",
            "SELECT rating_5, comments, spam FROM feedback.counters",
            ("SELECT count(*), (SELECT sum(count)::int FROM metrics.deltas) FROM metrics.points"),
            (
                "SELECT count(*) FROM integrations.integrations WHERE config::text || coalesce(encode(webhook_secret, "
                "'escape'), '') || encode(config_secrets, 'escape') LIKE '%plain%'"
            ),
            "SELECT owner, status, webhook_url FROM integrations.integrations WHERE id ~ '^int_company' ORDER BY 1",
            "SELECT action, count(*) FROM wharfd.audit GROUP BY 1",
            "SELECT count(*) FROM wharfd.inbox",
        ],
    )
    assert set(states(plan).values()) == {"planned"}
    assert len(plan.outcomes) == 18
    assert plan.unknown_tables == ("audit_logs",)
    assert set(states(first).values()) == {"equal"}, [o for o in first.outcomes if o.state != "equal"]
    assert {one.importer: (one.rows, one.refused) for one in first.outcomes if one.refused} == {
        "netbanx.transactions": (103, 2),
        "netbanx.keys": (1, 1),
        "integrations.tokens": (2, 2),
        "webhooks.endpoints": (3, 1),
        "mint.buyers": (5, 1),
        "feedback.feedback": (3, 1),
    }
    assert not first.well
    for one in first.outcomes:
        assert one.read == one.rows == one.written + one.refused
        assert one.comparison.expected == one.comparison.found
        assert one.comparison.expected_rows == one.comparison.found_rows == one.rows - one.refused
    # Once more changes nothing and finds everything as it was.
    assert states(second) == states(first)
    assert [one.written for one in second.outcomes] == [0] * len(second.outcomes)
    assert [one.comparison for one in second.outcomes] == [one.comparison for one in first.outcomes]

    (
        events,
        rolled,
        kept,
        deliveries,
        orders,
        mints,
        tiers,
        jobs,
        stats,
        points,
        plain,
        companies,
        audit,
        inbox,
    ) = seen
    assert events == [("done", 118), ("held", 2)]
    assert rolled == kept
    assert kept[0][0] == 101
    assert deliveries == [("buried", 1), ("done", 1), ("held", 2)]
    assert orders == [
        ("bulk_1", "buried", 1),
        ("bulk_1", "done", 2),
        ("bulk_2", "cancelled", 1),
        ("bulk_2", "done", 1),
    ]
    assert mints == [("done", True, 1), ("held", False, 1)]
    assert tiers == [("gold", 3), ("silver", 0)]
    assert jobs == [("paused", 42)]
    assert stats == [(1, 1, 1)]
    assert points == [(90, 90)]
    assert plain == [(0,)], "a secret of the old system stands in the open"
    assert audit == [("import.finished", 2)]
    assert inbox == [(0,)], "an import announces nothing"
    assert remarks(first, "integrations.tokens") == [
        (
            True,
            1,
            "the token 'old' of company beta was switched off; nothing is to be done",
        ),
        (
            True,
            1,
            (
                "the token 'reports' of company acme, valid until 2027-01-01, cannot become a key: it was kept in the "
                "open and has another form; make a new one with wharfd keys create NAME --owner COMPANY --scope … "
                '(it had the permissions ["transactions:read"])'
            ),
        ),
    ]
    assert companies == [("acme", "active", "https://acme.example/hook"), ("beta", "inactive", None)]
    assert remarks(first, "netbanx.transactions") == [
        (True, 1, "amount: currency 'ZZZ' is not in ISO 4217"),
        (True, 1, "status 'SETTLED' is none of PENDING, CANCELLED, FAILED, COMPLETED"),
        (False, 10, "its amount has more than 0 decimals (JPY); the old value is kept in its metadata"),
        (False, 1, "its amount has more than 2 decimals (EUR); the old value is kept in its metadata"),
    ]


# Stops an import in the middle of a page, with half of it written and nothing committed.
STOP = """CREATE FUNCTION netbanx.stop() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.external_id = 'pay-57' THEN PERFORM pg_advisory_xact_lock(57); END IF; RETURN NEW; END $$;
CREATE TRIGGER stop BEFORE INSERT ON netbanx.transactions FOR EACH ROW EXECUTE FUNCTION netbanx.stop()"""
HOLD = sql("hold", "SELECT pg_advisory_xact_lock(57)")
STOPPED = sql(
    "stopped", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 57 AND NOT granted"
)
KEPT = sql("kept", "SELECT count(*), count(DISTINCT external_id) FROM netbanx.transactions")
TRANSACTIONS = ("netbanx.transactions",)


async def stopped_halfway(machinery, run):
    """Call `run(held)` with an import that is about to stand still; it returns when that is over."""
    db = machinery.db
    for number, statement in enumerate(STOP.split(";\nCREATE", 1)):
        await db.owner.execute(sql(f"stop_{number}", statement if number == 0 else f"CREATE{statement}"))
    async with db.transaction() as tx:
        await tx.fetchval(HOLD)

        async def until_it_stands_still():
            with trio.fail_after(60):
                while not await db.fetchval(STOPPED):
                    await trio.lowlevel.checkpoint()

        await run(until_it_stands_still)
    return tuple(await db.fetchrow(KEPT))


async def test_an_import_stopped_in_the_middle_of_a_page_wrote_nothing_of_it(old, prepared):
    wish = Wish(where=old, only=TRANSACTIONS, page_size=20)
    with unwrapped():
        async with opened_for_import(prepared.configuration, prepared.registry, prepared.state_dir) as opened:
            machinery, bridge = opened

            async def cancelled(standing):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run_import, machinery, prepared.registry, bridge, wish)
                    await standing()
                    nursery.cancel_scope.cancel()

            assert await stopped_halfway(machinery, cancelled) == (38, 38)
            plan = await run_import(machinery, prepared.registry, bridge, replace(wish, mode="plan"))
            assert [(one.state, one.read) for one in plan.outcomes] == [("interrupted", 40)]
            seen = []
            report = await run_import(
                machinery, prepared.registry, bridge, wish, lambda name, doing, rows, of: seen.append(rows)
            )
            assert seen[0] == 40
            assert tuple(await machinery.db.fetchrow(KEPT)) == (101, 101)
    (outcome,) = report.outcomes
    assert (outcome.state, outcome.read, outcome.written) == ("equal", 103, 101)


@pytest.mark.faults
async def test_the_command_is_killed_in_the_middle_of_a_page_and_called_again(
    old, prepared, tmp_path, database_settings
):
    file = tmp_path / "wharfd.toml"
    file.write_text(config_of(database_settings))
    command = [sys.executable, "-m", "wharfd", "import", "--json", "--config", str(file), "--from", old]
    command += ["--state-dir", str(prepared.state_dir), "--only", *TRANSACTIONS, "--page", "20"]
    with unwrapped():
        async with opened_for_import(prepared.configuration, prepared.registry, prepared.state_dir) as opened:
            machinery, _ = opened

            async def killed(standing):
                async with trio.open_nursery() as nursery:
                    process = await nursery.start(partial(trio.run_process, command, check=False))
                    await standing()
                    process.kill()

            assert await stopped_halfway(machinery, killed) == (38, 38)
            done = await trio.run_process(command, capture_stdout=True, check=False)
            assert tuple(await machinery.db.fetchrow(KEPT)) == (101, 101)
    (outcome,) = msgspec.json.decode(done.stdout)["outcomes"]
    assert (done.returncode, outcome["state"], outcome["read"], outcome["written"]) == (1, "equal", 103, 101)


async def test_what_is_changed_on_either_side_is_found(old, take, postgres, database_settings):
    only = ("feedback.feedback", "netbanx.accounts")
    (first,) = await take(Wish(where=old, only=only, compare=False))
    assert set(states(first).values()) == {"imported"}
    name = urlsplit(database_settings.url).path[1:]
    postgres.psql(name, "UPDATE feedback.feedback SET rating = 1 WHERE user_id = 'u1'")
    postgres.psql("old_systems", "UPDATE accounts SET email = 'new@example.com' WHERE id = 'a1'")
    (second,) = await take(Wish(where=old, only=only))
    found = {one.importer: one.comparison for one in second.outcomes}
    assert found["feedback.feedback"].differing == ("i1, u1",)
    assert not second.well
    assert found["netbanx.accounts"].differing == ("a1",)
    assert found["netbanx.accounts"].expected != found["netbanx.accounts"].found


async def test_a_dry_run_and_dumps_of_every_kind(old, take, tmp_path, postgres):
    import gzip

    folder = tmp_path / "dumps"
    folder.mkdir()
    for table, columns in (("webhook_deliveries", "*"), ("webhooks", "*"), ("insight_feedback", "*")):
        text = postgres.psql("old_systems", f"COPY (SELECT {columns} FROM {table}) TO STDOUT WITH CSV HEADER")
        (folder / f"{table}.csv").write_text(text)
    lines = postgres.psql("old_systems", "COPY (SELECT to_jsonb(t) FROM transactions t) TO STDOUT")
    with gzip.open(folder / "transactions.jsonl.gz", "wt") as out:
        out.write(lines)
    # The dashboard kept its own figures in a table of the same name.
    samples = b"".join(
        b'{"id": "s%d", "timestamp": "2026-08-30T10:%02d:00", "webhooksReceived": %d, "cpuUsage": 0.5}\n'
        % (n, n, n)
        for n in range(40)
    )
    (folder / "system_metrics.jsonl.zst").write_bytes(zstandard.compress(samples))
    dry, report, left, points = await take(
        Wish(where=str(folder), mode="dry-run"),
        Wish(where=str(folder), page_size=33),
        look=["SELECT count(*) FROM wharfd.imports", "SELECT count(*) FROM metrics.points"],
    )
    assert set(states(dry).values()) == {"tried"}
    assert {one.importer: one.refused for one in dry.outcomes} == {
        one.importer: one.refused for one in report.outcomes
    }
    assert states(report) == dict.fromkeys(states(report), "equal")
    assert len(report.outcomes) == 5
    assert left == [(5,)], "the dry run wrote nothing"
    assert points == [(80,)]
    assert msgspec.json.encode(report.as_json())


async def test_wrong_wishes_are_sentences(old, take, tmp_path):
    with pytest.raises(ImportRefused, match="no importer 'netbanx\\.nothing'; there are backfill"):
        await take(Wish(where=old, only=("netbanx.nothing",)))
    with pytest.raises(SourceError, match="is no folder"):
        await take(Wish(where=str(tmp_path / "away")))
    (tmp_path / "webhooks.jsonl").write_text('{"id": "wh_1"\n')
    with pytest.raises(SourceError, match=r"webhooks.jsonl:1: is no JSON object .* was the dump cut off"):
        await take(Wish(where=str(tmp_path)))
