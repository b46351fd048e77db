"""What an operator is told, the backup before a migration, and the look for gaps."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog

import wharfd_backups
from wharfd import Folder, Packing, WharfdError, read_object, sql
from wharfd.contracts.daemon import CONFIGURATION_FILE
from wharfd_backups import watching
from wharfd_backups.config import Settings
from wharfd_backups.engine.receiving import LogState, Receiver
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.guarding import back_up_before
from wharfd_backups.model import catalogue
from wharfd_backups.model.catalogue import Entry
from wharfd_backups.model.wal import Gap
from wharfd_backups.restoring.unpacking import fetch
from wharfd_backups.upkeep import keeper_of
from wharfd_backups.work import ask, prune

AGE = sql("age", "UPDATE wharfd.migrations SET applied_at = now() - $1::interval WHERE plugin = 'backups'")
RUN = sql(
    "run",
    "INSERT INTO backups.runs (id, kind, reason, actor, state, error, asked_at) "
    "VALUES ($1, $2, 'daily', 'test', $3, $4, now() - $5::interval)",
)


async def messages(ctx):
    found = {}
    for rule in watching.alerts(ctx.settings):
        found[rule.name] = [finding.message for finding in await rule.check(ctx)]
    return {name: said for name, said in found.items() if said}


async def test_what_is_late_failed_waiting_or_missing_is_said(daemon, tmp_path):
    config = f'[plugins.backups]\nfolder = "{tmp_path}/store"\n'
    async with daemon(plugins={"backups": wharfd_backups}, config=config) as d:
        ctx = d.context("backups")
        assert set(await messages(ctx)) == {"key_only_here"}
        await d.db.owner.execute(AGE, timedelta(days=9))
        said = await messages(ctx)
        assert said["drill_late"] == [
            "the last good drill is 216 hours old; wharfd backup drill tries one now"
        ]
        assert "backup_late" in said
        await d.db.execute(RUN, "dri_1", "drill", "done", None, timedelta(days=7))
        await d.db.execute(RUN, "bkp_1", "backup", "done", None, timedelta(hours=25))
        assert set(await messages(ctx)) == {"key_only_here"}
        await d.db.execute(RUN, "bkp_2", "backup", "failed", "no space", timedelta(hours=1))
        await d.db.execute(RUN, "dri_2", "drill", "failed", "Damaged", timedelta(hours=1))
        assert (await messages(ctx))["backup_failed"] == ["bkp_2: no space"]
        gap = Gap("000000010000000000000005", "000000010000000000000005", 1)
        old = datetime.now(UTC).timestamp() - 400
        state = LogState(gaps=[gap], waiting=3, oldest_waiting_at=old, reason="No space left")
        keeper_of(ctx).receiver = SimpleNamespace(state=state, awaiting=None)
        said = await messages(ctx)
        assert set(said) == {"backup_failed", "log_gap", "log_not_received", "log_waits", "key_only_here"}
        assert said["log_gap"][0].startswith("missing: 000000010000000000000005;")
        assert "No space left" in said["log_waits"][0]
        keeper_of(ctx).receiver = None
        for page in {rule.runbook.partition("#")[::2] for rule in watching.alerts(ctx.settings)}:
            assert page[0] == "docs/runbooks/backups.md"


async def test_the_configuration_and_the_buyers_go_along_and_no_key_does(daemon, tmp_path):
    config = (
        f'[plugins.backups]\nfolder = "{tmp_path}/store"\nencrypt = false\n'
        'csv_tables = ["wharfd.migrations", "mint.buyers"]\n'
    )
    async with daemon(plugins={"backups": wharfd_backups}, config=config) as d:
        ctx = d.context("backups")
        path = tmp_path / "wharfd.toml"
        path.write_text('[secrets]\nkey = "c2VjcmV0"\n[plugins.backups]\nkeep_daily = 3\n')
        d.running.lives.services.find(CONFIGURATION_FILE)._path = path
        await ask(ctx, "backup", "manual", "test")
        await d.drain("backups.errand")
        (entry,) = [e for e in keeper_of(ctx).storehouse.entries()[0] if e.reason == "manual"]
        place, held = keeper_of(ctx).storehouse.first, {}
        for part in entry.parts[1:]:
            held[part.kind] = bytearray()
            fetch(place, part, held[part.kind].extend, None)
        assert set(held) == {"csv", "files"}  # mint.buyers is not there
        assert held["csv"].startswith(b"plugin,")
        assert b"keep_daily = 3" in held["files"]
        assert b"c2VjcmV0" not in held["files"]


async def test_tables_are_changed_after_a_backup_or_not_at_all(world, short):
    good = Settings(folder=short / "store")
    await back_up_before(good, world.server, short, ["mint/0002_more", "mint/0003_last"])
    (entry,) = Storehouse(Folder(short / "store")).entries()[0]
    assert (entry.reason, entry.method) == ("migration", "physical")
    assert entry.note == "before mint/0002_more, mint/0003_last"
    (short / "a file").write_text("")
    bad = Settings(folder=short / "a file" / "store")
    with pytest.raises(
        WharfdError, match=r"not changed without a backup, and it failed: .*before_migrations"
    ):
        await back_up_before(bad, world.server, short, ["mint/0002_more"])
    for kind in ("try", "off"):
        await back_up_before(
            Settings(folder=bad.folder, before_migrations=kind), world.server, short, ["mint/0002_more"]
        )


async def test_backups_that_the_second_place_alone_knows_age_too(daemon, tmp_path):
    config = (
        f'[plugins.backups]\nfolder = "{tmp_path}/first"\nsecond = {{ folder = "{tmp_path}/second" }}\n'
        'keep_daily = 2\nlog_by = "nothing"\nbefore_migrations = "off"\n'
    )
    async with daemon(plugins={"backups": wharfd_backups}, config=config) as d:
        ctx = d.context("backups")
        keeper = keeper_of(ctx)
        house, system = keeper.storehouse, keeper.facts.system
        for name, age, timeline in (("bkp_old", 30, 1), ("bkp_kept", 2, 1), ("bkp_new", 0, 2)):
            at = datetime.now(UTC) - timedelta(days=age)
            entry = Entry(
                id=name, method="physical", reason="daily", started_at=at, finished_at=at, server_version=180006,
                database="wharfd", superuser="postgres", parts=(), system=system, timeline=timeline,
                start_lsn=f"0/{40 - age:X}000060", end_lsn=f"0/{40 - age:X}000070",
            )  # fmt: skip
            for place in house.places[timeline % 2 :]:  # the first was lost with the machine before the last
                place.create(catalogue.key_of(name), catalogue.encode(entry))
        for number in (10, 37, 38, 39):
            house.second.create(f"wal/{system}/0000000100000000{number:08X}.{'0' * 16}.zst", b"x")
        assert await prune(ctx, keeper) == ["bkp_old"]
        assert [entry.id for entry in house.entries(house.second)[0]] == ["bkp_kept", "bkp_new"]
        assert len(house.log_files(system, house.second)) == 2


async def test_gaps_that_a_kept_backup_needs_are_found(tmp_path):
    house = Storehouse(Folder(tmp_path))
    at = datetime(2026, 11, 1, tzinfo=UTC)
    entry = Entry(
        id="bkp_1", method="physical", reason="daily", started_at=at, finished_at=at, server_version=180006,
        database="wharfd", superuser="postgres", parts=(), system="77", timeline=1, start_lsn="0/3000060",
        end_lsn="0/4000000",
    )  # fmt: skip
    house.first.create(catalogue.key_of("bkp_1"), catalogue.encode(entry))
    assert read_object(house.first, catalogue.key_of("bkp_1"))
    for number in (1, 4, 5, 8, 9, 11):  # 1 is older than what the backup needs, 3 is in the backup itself
        house.first.create(f"wal/77/0000000100000000{number:08X}.{'0' * 16}.zst", b"x")
    receiver = Receiver(
        house, None, "", tmp_path / "in", Packing(), system="77", segment_bytes=16 << 20, log=None
    )
    assert [str(gap) for gap in await receiver.look_for_gaps()] == [
        "000000010000000000000006 to 000000010000000000000007 (2 files)",
        "00000001000000000000000A",
    ]
    receiver.incoming.mkdir()
    # what the other place has is fetched back, and what it has lost goes there again
    second = Folder(tmp_path / "second")
    receiver._storehouse, receiver._log = Storehouse(house.first, second), structlog.get_logger()
    for number in (6, 7, 8):
        second.create(f"wal/77/0000000100000000{number:08X}.{'0' * 16}.zst", b"x")
    await receiver.archive()
    second.delete(f"wal/77/000000010000000000000008.{'0' * 16}.zst")
    assert [str(gap) for gap in await receiver.look_for_gaps()] == ["00000001000000000000000A"]
    await receiver.archive()
    assert set(receiver._storehouse.log_files("77", second)) >= set(house.log_files("77"))
