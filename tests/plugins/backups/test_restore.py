"""Backups of a real server, restored: what comes back, and what is refused."""

import pytest
from wharfd_backups.model.targets import LATEST, to_lsn
from wharfd_backups.restoring.drilling import drill
from wharfd_backups.restoring.restore import Source, restore


def source(world, place=None, **more):
    return Source(
        storehouse=world.house,
        place=place or world.second,
        identity=world.identity,
        programs=world.programs,
        **more,
    )


async def test_a_backup_comes_back_whole_from_the_second_place(world, short):
    entry = await world.back_up(csv_tables=("shop.items",))
    restored = await restore(source(world), LATEST, short / "back")
    try:
        rows = await restored.scratch.ask("SELECT count(*), max(id) FROM shop.items", "wharfd")
        assert rows == [["2000", "2000"]]
        assert await restored.scratch.ask("SELECT pg_is_in_recovery()") == [["f"]]
        assert restored.timeline == 2
    finally:
        await restored.scratch.stop()
    assert entry.marker.tables["shop.orders"].rows == 2000
    print(restored.phases, restored.reached_lsn, entry.bytes)


async def test_a_drill_checks_what_was_restored(world, short):
    entry = await world.back_up()
    report = await drill(
        source(world), short / "drills" / "d1", short / "drills", entry, to_lsn(entry.marker.lsn), entry.marker
    )
    print(report)
    assert report.passed, report
    assert not (short / "drills" / "d1").exists()
