"""The spool: nothing that was acknowledged is lost, whatever happens to the process or the file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wharfd.errors import SpoolError
from wharfd.ingest import SpoolBudget, Spools
from wharfd.ingest.frames import FILE_HEADER, frame, scan
from wharfd.ingest.spool import Spool

ROOMY = {"min_free_bytes": 1}


def budget(**limits) -> SpoolBudget:
    return SpoolBudget(**{**ROOMY, **limits})


async def drain(spool) -> list[bytes]:
    """Take everything out, oldest first."""
    found = []
    while (segment := await spool.oldest()) is not None:
        found += [record.payload for record in await spool.read(segment)]
        await spool.discard(segment)
    return found


# -- the file format ---------------------------------------------------------------------------------------

payloads = st.lists(st.binary(max_size=60), max_size=6)


def write_file(batches):
    """Return the bytes of a file with these batches, and where each record begins and ends."""
    data = FILE_HEADER
    ends = [len(data)]
    for number, payload in enumerate(batches):
        data += frame(payload, 1000.0 + number)
        ends.append(len(data))
    return data, ends


@given(kept=payloads, torn=payloads.filter(bool), cut=st.floats(0, 1), flip=st.integers(0, 10_000))
def test_torn_end_costs_only_what_was_not_acknowledged(kept, torn, cut, flip):
    acknowledged, _ = write_file(kept)
    tail = b"".join(frame(payload, 2000.0) for payload in torn)
    tail = bytearray(tail[: int(len(tail) * cut)])
    if tail:
        tail[flip % len(tail)] ^= 1 << flip % 8
    records, damages = scan(acknowledged + tail)
    found = [record.payload for record in records]
    assert found[: len(kept)] == kept
    assert set(found[len(kept) :]) <= set(torn)
    assert (not damages) == (not tail)


@given(written=payloads, cut=st.integers(0, 600))
def test_every_prefix_gives_exactly_its_whole_records(written, cut):
    data, ends = write_file(written)
    records, damages = scan(data[:cut])
    whole = sum(end <= cut for end in ends[1:])
    assert [record.payload for record in records] == written[:whole]
    assert bool(damages) == (cut not in (0, *ends) and cut < len(data))


@given(written=payloads.filter(lambda p: len(p) > 1), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damage_inside_costs_one_record_and_is_seen(written, position, bit):
    data, ends = write_file(written)
    position = len(FILE_HEADER) + position % (len(data) - len(FILE_HEADER))
    damaged = bytearray(data)
    damaged[position] ^= 1 << bit
    records, damages = scan(bytes(damaged))
    hit = sum(end <= position for end in ends[1:])
    assert [record.payload for record in records] == written[:hit] + written[hit + 1 :]
    assert len(damages) == 1
    assert damages[0].start <= position < damages[0].end


@given(zeros=st.integers(1, 5000))
def test_zeros_are_no_records(zeros):
    records, [damage] = scan(FILE_HEADER + frame(b"a", 1.0) + b"\0" * zeros)
    assert [record.payload for record in records] == [b"a"]
    assert damage.tail


def test_record_inside_a_record_is_not_taken_twice():
    inner = frame(b"inner", 1.0)
    records, damages = scan(FILE_HEADER + frame(b"x" + inner + b"y", 2.0))
    assert [record.payload for record in records] == [b"x" + inner + b"y"]
    assert not damages


# -- keeping and draining ------------------------------------------------------------------------------------


async def test_gives_back_in_order_across_segments_and_runs(tmp_path):
    spool = await Spool.open(tmp_path / "s", budget(), segment_bytes=200)
    for number in range(20):
        await spool.append([b"%d-a" % number, b"%d-b" % number])
    await spool.close()
    purse = budget()
    again = await Spool.open(tmp_path / "s", purse, segment_bytes=200)
    assert again.records == 40
    assert purse.used == again.size > 0
    assert again.oldest_at is not None
    await again.append([b"last"])
    expected = [b"%d-%s" % (number, part) for number in range(20) for part in (b"a", b"b")]
    assert await drain(again) == [*expected, b"last"]
    assert (again.records, again.size, purse.used, again.oldest_at) == (0, 0, 0, None)
    assert not list((tmp_path / "s").glob("*.seg"))
    await again.close()


async def test_concurrent_appends_share_an_fsync(tmp_path):
    steps = []
    spool = await Spool.open(tmp_path / "s", budget(), step=steps.append)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(spool.append, [b"%d" % number])
    assert 1 <= steps.count("synced") <= 3
    assert sorted(await drain(spool)) == sorted(b"%d" % number for number in range(50))


async def test_appends_while_draining_go_to_another_file(tmp_path):
    spool = await Spool.open(tmp_path / "s", budget())
    await spool.append([b"one"])
    segment = await spool.oldest()
    await spool.append([b"two"])
    assert [r.payload for r in await spool.read(segment)] == [b"one"]
    await spool.discard(segment)
    assert await drain(spool) == [b"two"]


async def test_is_bounded_and_recovers_when_there_is_room(tmp_path):
    purse = budget(max_bytes=500)
    spool = await Spool.open(tmp_path / "s", purse)
    await spool.append([b"x" * 300])
    with pytest.raises(SpoolError, match=r"may hold 500; raise \[ingest\] spool_max_bytes"):
        await spool.append([b"y" * 300])
    assert await drain(spool) == [b"x" * 300]
    await spool.append([b"y" * 300])
    assert await drain(spool) == [b"y" * 300]


async def test_leaves_room_on_the_disk(tmp_path):
    spool = await Spool.open(tmp_path / "s", SpoolBudget(min_free_bytes=1 << 60))
    with pytest.raises(SpoolError, match="bytes left"):
        await spool.append([b"x"])
    assert spool.records == 0


@pytest.mark.parametrize("call", ["fdatasync", "write"])
async def test_failing_disk_refuses_and_abandons_the_file(tmp_path, monkeypatch, call):
    spool = await Spool.open(tmp_path / "s", budget())
    await spool.append([b"safe"])
    real = getattr(os, call)

    def fail(descriptor, *arguments):
        if call == "write":
            real(descriptor, bytes(arguments[0])[:7])  # part of it reaches the file
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(SpoolError, match=r"cannot write to the spool .*: Input/output error"):
            await spool.append([b"lost", b"too"])
    await spool.append([b"later"])
    assert len(list((tmp_path / "s").glob("*.seg"))) == 2
    assert await drain(spool) == [b"safe", b"later"]
    assert not spool.damages


async def test_full_disk_at_the_first_write_leaves_nothing(tmp_path, monkeypatch):
    spool = await Spool.open(tmp_path / "s", (purse := budget()))

    def fail(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(SpoolError, match="No space left on device"):
            await spool.append([b"x"])
    assert purse.used == 0
    assert not list((tmp_path / "s").glob("*.seg"))
    await spool.append([b"x"])
    assert await drain(spool) == [b"x"]


async def test_damage_is_set_aside_and_reported_once(tmp_path):
    spool = await Spool.open(tmp_path / "s", budget())
    await spool.append([b"first", b"second", b"third"])
    await spool.close()
    [path] = (tmp_path / "s").glob("*.seg")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"second", b"sEcond") + b"torn")
    for expected in (2, 0):
        again = await Spool.open(tmp_path / "s", budget())
        assert len(again.damages) == expected
        assert again.records == 2
        assert again.quarantined == 2
        await again.close()
    kept = b"".join(p.read_bytes() for p in sorted((tmp_path / "s" / "quarantine").glob("*.bad")))
    assert b"sEcond" in kept
    assert kept.endswith(b"torn")
    again = await Spool.open(tmp_path / "s", budget())
    assert await drain(again) == [b"first", b"third"]


async def test_what_is_set_aside_can_come_back(tmp_path):
    purse = budget()
    spool = await Spool.open(tmp_path / "s", purse)
    await spool.append([b"good", b"odd"])
    segment = await spool.oldest()
    _, odd = await spool.read(segment)
    await spool.set_aside(segment, odd, "cannot be stored")
    await spool.discard(segment)
    [why] = (tmp_path / "s" / "quarantine").glob("*.why")
    assert why.read_text() == "cannot be stored"
    assert (spool.quarantined, spool.records) == (1, 0)
    assert await spool.readmit() == 1
    assert (spool.quarantined, spool.records) == (0, 1)
    assert await drain(spool) == [b"odd"]
    assert purse.used == 0


async def test_spools_keep_sources_apart(tmp_path):
    spools = await Spools.open(tmp_path / "spool", budget())
    names = ["netbanx", "../up", ".", "a/b", "ümlaut"]
    for name in names:
        await spools.append(name, [name.encode()])
    with pytest.raises(SpoolError, match="in use by another process"):
        await Spools.open(tmp_path / "spool", budget())
    await spools.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spool"]
    again = await Spools.open(tmp_path / "spool", budget())
    assert sorted(again.waiting()) == sorted(names)
    assert [(s.source, s.records) for s in again.statistics()] == [
        (name, 1) for name in sorted(names) if name
    ]
    await again.close()


async def test_unusable_folder_is_named(tmp_path):
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match=r"cannot use the spool .*: File exists"):
        await Spools.open(tmp_path / "spool")


# -- kill -9 -----------------------------------------------------------------------------------------------

# Forks for every case, so the imports are paid for once; no thread or loop runs in it before a fork.
NURSERY = textwrap.dedent(
    """
    import os, signal, sys, trio
    from pathlib import Path
    from wharfd.ingest.spool import Spool, SpoolBudget

    async def work(folder, point, turn):
        seen = 0

        def step(name):
            nonlocal seen
            seen += name == point
            if seen == turn:
                os.kill(os.getpid(), signal.SIGKILL)

        spool = await Spool.open(folder / "s", SpoolBudget(min_free_bytes=1), segment_bytes=150, step=step)
        with open(folder / "acknowledged", "a") as acknowledged, open(folder / "stored", "a") as stored:
            for number in range(12):
                await spool.append([b"%d" % number, b"%d+" % number])
                print(number, f"{number}+", file=acknowledged, flush=True)
            while (segment := await spool.oldest()) is not None:
                for record in await spool.read(segment):
                    if record.payload == b"3":
                        await spool.set_aside(segment, record, "odd")
                    else:
                        print(record.payload.decode(), file=stored, flush=True)
                await spool.discard(segment)

    for line in sys.stdin:
        folder, point, turn = line.split()
        child = os.fork()
        if child == 0:
            trio.run(work, Path(folder), point, int(turn))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    """
)


@pytest.fixture(scope="module")
def nursery_process():
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize(
    ("point", "turn"),
    [
        ("created", 1),
        ("created", 2),
        ("before_write", 3),
        ("written", 1),
        ("written", 4),
        ("synced", 1),
        ("synced", 5),
        ("set_aside", 1),
        ("before_delete", 1),
        ("before_delete", 2),
        ("deleted", 1),
        ("deleted", 3),
    ],
)
async def test_kill_9_loses_nothing_acknowledged(tmp_path, nursery_process, point, turn):
    nursery_process.stdin.write(f"{tmp_path} {point} {turn}\n")
    nursery_process.stdin.flush()
    assert nursery_process.stdout.readline() == "-9\n"
    acknowledged = (tmp_path / "acknowledged").read_bytes().split()
    stored = (tmp_path / "stored").read_bytes().split()
    spool = await Spool.open(tmp_path / "s", budget())
    set_aside = await spool.readmit()
    left = await drain(spool)
    assert set(acknowledged) <= {*stored, *left}
    assert set(left) <= {*acknowledged, *left[-2:]}  # beyond them at most the batch that was being written
    repeated = {payload for payload in left if left.count(payload) > 1}
    assert repeated <= {b"3"}  # in quarantine, and still in its segment
    assert set_aside == (point in ("set_aside", "before_delete", "deleted"))
    if point in ("created", "before_write", "written", "synced"):
        assert not stored
        assert len(left) in (len(acknowledged), len(acknowledged) + 2)


def test_kill_points_exist():
    source = Path(sys.modules[Spool.__module__].__file__).read_text()
    for point in ("created", "before_write", "written", "synced", "set_aside", "before_delete", "deleted"):
        assert f'self._step("{point}")' in source


batches = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    kept=st.lists(
        st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3), min_size=1, max_size=4
    ),
    torn=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3),
    cut=st.floats(0, 1, exclude_max=True),
)
def test_power_cut_recovers_exactly_what_was_synced(tmp_path_factory, kept, torn, cut):
    """What a power cut leaves: the synced part whole, any part of what came after it."""
    folder = tmp_path_factory.mktemp("spool")

    async def main():
        spool = await Spool.open(folder / "s", budget())
        for batch in kept:
            await spool.append(batch)
        synced = spool.size
        await spool.append(torn)
        await spool.close()
        [path] = (folder / "s").glob("*.seg")
        size = path.stat().st_size
        os.truncate(path, synced + int((size - synced) * cut))
        again = await Spool.open(folder / "s", budget())
        return await drain(again)

    found = trio.run(main)
    whole = [payload for batch in kept for payload in batch]
    assert found[: len(whole)] == whole
    assert found[len(whole) :] == torn[: len(found) - len(whole)]
    assert len(found) < len(whole) + len(torn)
