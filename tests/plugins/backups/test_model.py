"""The pure part: log file names, gaps, timelines, manifests, the catalogue, what is kept, what is chosen."""

import hashlib
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_backups.model import catalogue, keeping, manifest, targets, wal
from wharfd_backups.model.catalogue import BadEntry, Entry, Marker, Part
from wharfd_backups.model.manifest import BadManifest, FileFacts
from wharfd_backups.model.wal import Segment
from wharfd_backups.restoring import choosing

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SIZES = st.sampled_from([1 << 20, 16 << 20, 64 << 20, 1 << 30])


@given(st.integers(0, 2**64 - 1))
def test_a_position_is_read_as_it_is_written(lsn):
    assert wal.lsn_of(wal.lsn_text(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "/", "0/", "g/1", "0/123456789", "0/1/2", " 0/1"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(ValueError, match="no position"):
        wal.lsn_of(text)


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**40), SIZES)
def test_a_name_leads_back_to_its_file(timeline, lsn, size):
    segment = wal.segment_at(lsn, timeline, size)
    assert wal.segment_named(segment.name, size) == segment
    assert segment.start <= lsn < segment.end == segment.next().start


def test_names_are_those_of_postgresql():
    assert Segment(1, 0).name == "000000010000000000000000"
    assert wal.segment_at(wal.lsn_of("1/0"), 3).name == "000000030000000100000000"
    assert Segment(1, 255).next().name == "000000010000000100000000"
    with pytest.raises(ValueError, match="of 16777216 bytes"):
        wal.segment_named("000000010000000000000100")


@given(st.sets(st.integers(0, 60), min_size=1))
def test_gaps_are_exactly_what_is_missing(numbers):
    names = [Segment(1, n).name for n in numbers]
    missing = set(range(min(numbers), max(numbers) + 1)) - numbers
    found = wal.holes(names)
    told = set()
    for gap in found:
        first, last = wal.segment_named(gap.first).number, wal.segment_named(gap.last).number
        assert last - first + 1 == gap.count
        told |= set(range(first, last + 1))
    assert told == missing
    assert wal.holes(names, max(numbers) * wal.SEGMENT_BYTES) == []


def test_the_way_over_a_timeline_switch():
    history = {2: f"1\t{wal.lsn_text(5 * wal.SEGMENT_BYTES + 100)}\tno recovery target specified\n"}
    needed = wal.path_to(1, 3 * wal.SEGMENT_BYTES, Segment(2, 6), history)
    assert [(s.timeline, s.number) for s in needed] == [(1, 3), (1, 4), (2, 5), (2, 6)]
    with pytest.raises(ValueError, match=r"00000003\.history is missing"):
        wal.path_to(1, 0, Segment(3, 6), history)
    with pytest.raises(ValueError, match="before the backup was taken"):
        wal.path_to(1, 7 * wal.SEGMENT_BYTES, Segment(2, 8), history)
    with pytest.raises(ValueError, match="does not come from"):
        wal.path_to(4, 0, Segment(2, 8), history)


def written(files, ranges=((1, "0/2000028", "0/2000120"),), algorithm="SHA256"):
    document = {
        "PostgreSQL-Backup-Manifest-Version": 2,
        "System-Identifier": 7574,
        "Files": [
            {"Path": path, "Size": len(data), "Checksum-Algorithm": algorithm,
             "Checksum": hashlib.sha256(data).hexdigest()} for path, data in files.items()
        ],
        "WAL-Ranges": [{"Timeline": t, "Start-LSN": a, "End-LSN": b} for t, a, b in ranges],
    }  # fmt: skip
    head = json.dumps(document)[:-1].encode() + b",\n"
    return head + b'"Manifest-Checksum": "' + hashlib.sha256(head).hexdigest().encode() + b'"}\n'


FILES = {"PG_VERSION": b"18\n", "base/1/112": b"x" * 8192, "global/pg_control": b"c"}
SEEN = {path: FileFacts(len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()}


def test_a_manifest_is_read_and_agrees_with_its_files():
    read = manifest.read_manifest(written(FILES))
    assert (read.bytes, read.system, read.ranges[0].start) == (8196, "7574", 0x2000028)
    log = {"pg_wal/000000010000000000000002": FileFacts(1, "0"), "backup_manifest": FileFacts(1, "0")}
    assert manifest.differences(read, SEEN | log) == []


@given(st.data())
def test_an_edited_manifest_is_not_believed(data):
    raw = bytearray(written(FILES))
    at = data.draw(st.integers(0, len(raw) - 3))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadManifest):
        manifest.read_manifest(bytes(raw))


@pytest.mark.parametrize("cut", [0, 10, 200, -60])
def test_half_a_manifest_is_not_believed(cut):
    with pytest.raises(BadManifest):
        manifest.read_manifest(written(FILES)[:cut])


@pytest.mark.parametrize("algorithm", ["CRC32C", "NONE"])
def test_a_manifest_of_weak_checksums_is_refused(algorithm):
    with pytest.raises(BadManifest, match="make it with SHA256"):
        manifest.read_manifest(written(FILES, algorithm=algorithm))


def test_a_manifest_without_checksums_is_believed_with_ours():
    document = json.loads(written(FILES))
    for entry in document["Files"]:
        del entry["Checksum"], entry["Checksum-Algorithm"]
    del document["Manifest-Checksum"]
    head = json.dumps(document)[:-1].encode() + b",\n"
    raw = head + b'"Manifest-Checksum": "' + hashlib.sha256(head).hexdigest().encode() + b'"}\n'
    with pytest.raises(BadManifest, match="make it with SHA256"):
        manifest.read_manifest(raw)
    ours = manifest.decode_sums(manifest.encode_sums(SEEN))
    assert manifest.differences(manifest.read_manifest(raw, ours), SEEN) == []
    changed = SEEN | {"PG_VERSION": FileFacts(3, "0")}
    assert manifest.differences(manifest.read_manifest(raw, ours), changed) == [
        "PG_VERSION has other bytes than it had: its checksum does not fit"
    ]
    short = SEEN | {"PG_VERSION": FileFacts(2, SEEN["PG_VERSION"].checksum)}
    assert manifest.differences(manifest.read_manifest(raw, ours), short) == [
        "PG_VERSION has 2 bytes instead of 3"
    ]
    with pytest.raises(BadManifest, match="cannot be read"):
        manifest.decode_sums(b"[]")
    with pytest.raises(BadManifest, match="make it with SHA256"):  # one that has its own needs none of ours
        manifest.read_manifest(written(FILES), ours)


def test_every_difference_is_named():
    read = manifest.read_manifest(written(FILES))
    seen = {**SEEN, "base/1/112": FileFacts(8192, "0" * 64), "base/1/999": FileFacts(1, "0")}
    del seen["PG_VERSION"]
    assert manifest.differences(read, seen) == [
        "PG_VERSION is missing",
        "base/1/112 has other bytes than it had: its checksum does not fit",
        "base/1/999 is there and not in the manifest",
    ]
    short = {**SEEN, "base/1/112": FileFacts(4096, "0" * 64)}
    assert manifest.differences(read, short) == ["base/1/112 has 4096 bytes instead of 8192"]


def entry(name="bkp_1", age=timedelta(0), method="physical", **more):
    at = NOW - age
    part = Part("base", f"backups/{name}.base.tar.zst", 10, "0" * 64, 20)
    facts = {"system": "1", "timeline": 1, "start_lsn": "0/2000028", "end_lsn": "0/3000000"}
    return Entry(
        id=name, method=method, reason="daily", started_at=at, finished_at=at, server_version=180006,
        database="wharfd", superuser="postgres", parts=(part,), **{**facts, **more},
    )  # fmt: skip


@given(st.data())
def test_a_changed_entry_is_not_believed(data):
    raw = bytearray(catalogue.encode(entry()))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = catalogue.decode(bytes(raw), key="catalogue/bkp_1.json")
    except BadEntry:
        return
    assert read == entry()  # a bit in the name of a field of the envelope may be one that is ignored


def test_an_entry_under_another_name_is_not_believed():
    with pytest.raises(BadEntry, match="is that of bkp_1"):
        catalogue.decode(catalogue.encode(entry()), key="catalogue/bkp_2.json")


def test_what_no_entry_names_is_an_orphan():
    keys = ["backups/bkp_1.base.tar.zst", "backups/bkp_2.base.tar.zst", "catalogue/bkp_1.json", "wal/1/x"]
    assert catalogue.orphans(keys, [entry()]) == ["backups/bkp_2.base.tar.zst"]


DAYS = [entry(f"bkp_{n:02}", timedelta(days=n)) for n in range(40)]


def test_seven_days_are_kept():
    assert keeping.kept(DAYS, keeping.Keep(), NOW) == {f"bkp_{n:02}" for n in range(7)}


def test_days_without_a_backup_do_not_count():
    old = [e for e in DAYS if NOW - e.finished_at > timedelta(days=20)]
    assert len(keeping.kept(old, keeping.Keep(), NOW)) == 7


def test_of_one_day_only_the_newest_stays_but_a_fresh_one_always():
    morning = entry("a", timedelta(days=3, hours=5))
    evening = entry("b", timedelta(days=3))
    assert keeping.kept([morning, evening], keeping.Keep(), NOW) == {"b"}
    fresh = [entry("c", timedelta(hours=2)), entry("d", timedelta(hours=1))]
    assert keeping.kept(fresh, keeping.Keep(daily=1), NOW) == {"c", "d"}


def test_weeks_and_months_are_kept_too():
    keep = keeping.kept(DAYS, keeping.Keep(daily=1, weekly=3, monthly=2), NOW)
    assert keep == {"bkp_00", "bkp_05", "bkp_12", "bkp_20"}


@given(st.lists(st.integers(0, 4000), max_size=40, unique=True), st.integers(1, 9), st.integers(0, 5))
def test_whatever_is_removed_the_newest_stays(hours, daily, weekly):
    entries = [entry(f"b{h}", timedelta(hours=h)) for h in hours]
    keep = keeping.kept(entries, keeping.Keep(daily, weekly), NOW)
    assert not hours or f"b{min(hours)}" in keep
    assert keep <= {e.id for e in entries}


def test_the_log_is_kept_from_the_oldest_backup_on():
    entries = [entry("a", start_lsn="0/5000028"), entry("b", start_lsn="0/9000028")]
    first = keeping.first_needed(entries, "1")
    names = [Segment(1, n).name for n in range(3, 9)]
    assert keeping.unneeded(names, first) == names[:2]
    assert keeping.unneeded(names, None) == []
    assert keeping.first_needed(entries, "another cluster") is None


def test_the_newest_backup_before_the_target_is_chosen():
    one, two = entry("a", timedelta(days=2)), entry("b", timedelta(days=1), end_lsn="0/9000000")
    assert targets.choose([one, two], targets.LATEST) is two
    assert targets.choose([one, two], targets.to_time(NOW - timedelta(days=1, hours=1))) is one
    assert targets.choose([one, two], targets.to_lsn("0/8000000")) is one
    assert targets.choose([one, two], targets.LATEST, backup_id="a") is one
    with pytest.raises(targets.NoBackup, match="no backup was finished before"):
        targets.choose([one, two], targets.to_time(NOW - timedelta(days=3)))
    with pytest.raises(targets.NoBackup, match="there is no backup c"):
        targets.choose([one, two], targets.LATEST, backup_id="c")
    with pytest.raises(targets.NoBackup):
        targets.choose([entry("d", method="logical", end_lsn=None)], targets.to_time(NOW))


def marked(name, age, lsn, timeline):
    marker = Marker(lsn=lsn, at=NOW - age, snapshot="", tables={})
    return entry(name, age, marker=marker, timeline=timeline, end_lsn=lsn)


def test_a_drill_stays_on_the_timeline_of_its_backup():
    """Between a restore that was taken into use and the next backup lies log that nobody archived."""
    days = [timedelta(days=n) for n in range(4)]
    old = [marked("a", days[3], "0/2000000", 1), marked("b", days[2], "0/4000000", 1)]
    entries = [*old, marked("c", days[1], "0/6000000", 2)]
    there = [Segment(1, 2).name, Segment(1, 4).name, "00000002.history", Segment(2, 6).name]
    aims = [choosing.pick(entries, there, random.Random(n), archived_until=NOW) for n in range(200)]
    told = {(aim.entry.id, aim.target.kind) for aim in aims}
    assert told == {
        ("a", "lsn"), ("a", "time"), ("b", "lsn"), ("c", "lsn"), ("c", "time"), ("c", "latest")
    }  # fmt: skip
    for aim in aims:
        if aim.entry in old:
            assert aim.marker in (None, old[0].marker, old[1].marker)
            assert aim.target.time is None or aim.target.time < old[1].finished_at
    # an entry that does not tell its timeline is of the first
    untold = [entry("a", days[1], timeline=None), marked("b", days[0], "0/4000000", 1)]
    aims = [choosing.pick(untold, there[:2], random.Random(n)) for n in range(50)]
    assert {aim.target.kind for aim in aims if aim.entry.id == "a"} == {"lsn"}
    # one of which nothing but its own log is left goes as far as that leads
    alone = choosing.pick([entry("a")], there, random.Random(0), archived_until=NOW)
    assert alone.target == targets.BEFORE_GAP


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="needs its zone"):
        targets.to_time(datetime(2026, 1, 1))  # noqa: DTZ001
