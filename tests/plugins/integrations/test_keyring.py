"""The keyring by itself, on a clock that jumps: single flight, bounds, changes during a look-up."""

import trio
import trio.testing

from wharfd_integrations.keyring import Keyring, TooManyUnknown
from wharfd_integrations.model.record import KeyRecord


def record(short, integration_id=None):
    return KeyRecord(
        id=f"key_{short}", short=short, hash=b"", owner=None, integration_id=integration_id,
        integration_status=None, scopes=frozenset(), allow_list=(), rate_per_minute=None, signed_only=False,
        secret=None, expires_at=None, valid_until=None, revoked_at=None,
    )  # fmt: skip


class Table:
    """Stands for the database: counts, and waits when told to."""

    def __init__(self, *records):
        self.rows = {one.short: one for one in records}
        self.asked = []
        self.gate = trio.Event()
        self.gate.set()

    async def read(self, short):
        self.asked.append(short)
        found = self.rows.get(short)
        await self.gate.wait()
        return found


async def test_a_key_is_read_again_after_its_time(autojump_clock):
    table = Table(record("a"))
    ring = Keyring(table.read, seconds=10, most=5)
    assert (await ring.find("a")).id == "key_a"
    await trio.sleep(9.9)
    await ring.find("a")
    assert table.asked == ["a"]
    await trio.sleep(0.2)
    await ring.find("a")
    assert table.asked == ["a", "a"]


async def test_many_at_once_read_once_and_a_cancelled_reader_is_replaced(autojump_clock):
    table = Table(record("a"))
    table.gate = trio.Event()
    ring = Keyring(table.read, seconds=10, most=5)
    found = []

    async def ask():
        found.append(await ring.find("a"))

    leading = trio.CancelScope()

    async def leader():
        with leading:
            await ring.find("a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert table.asked == ["a"]
        leading.cancel()
        await trio.testing.wait_all_tasks_blocked()
        table.gate.set()
    assert [one.id for one in found] == ["key_a"] * 10
    assert table.asked == ["a", "a"]


async def test_what_was_read_before_a_change_is_not_kept(autojump_clock):
    table = Table(record("a"))
    table.gate = trio.Event()
    ring = Keyring(table.read, seconds=10, most=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ring.find, "a")
        await trio.testing.wait_all_tasks_blocked()
        ring.forget("a")
        table.gate.set()
    assert len(ring) == 0
    await ring.find("a")
    assert table.asked == ["a", "a"]


async def test_a_key_made_after_it_was_unknown_is_found_when_told(autojump_clock):
    table = Table()
    ring = Keyring(table.read, seconds=10, most=5)
    assert await ring.find("a") is None
    table.rows["a"] = record("a")
    assert await ring.find("a") is None
    ring.forget("a")
    assert (await ring.find("a")).id == "key_a"


async def test_an_integration_takes_its_keys_with_it(autojump_clock):
    table = Table(record("a", "int_1"), record("b", "int_1"), record("c", "int_2"), record("d"))
    ring = Keyring(table.read, seconds=10, most=5)
    for short in "abcd":
        await ring.find(short)
    ring.forget("int_1")
    table.asked.clear()
    for short in "abcd":
        await ring.find(short)
    assert table.asked == ["a", "b"]


async def test_memory_is_bounded(autojump_clock):
    table = Table(*[record(f"k{n}") for n in range(20)])
    ring = Keyring(table.read, seconds=10, most=5)
    for n in range(20):
        await ring.find(f"k{n}")
        await ring.find(f"unknown{n}")
    assert (len(ring), len(ring._unknown)) == (5, 5)
    asked = len(table.asked)
    await ring.find("k19")
    assert len(table.asked) == asked


async def test_a_flood_of_unknown_ids_is_not_passed_on_and_known_keys_go_on(autojump_clock):
    table = Table(record("a"))
    ring = Keyring(table.read, seconds=10, most=1000)
    await ring.find("a")
    refused = 0
    for n in range(2000):
        try:
            await ring.find(f"x{n}")
        except TooManyUnknown:
            refused += 1
    assert len(table.asked) <= 202
    assert refused >= 1798
    ring.forget_all()
    assert (await ring.find("a")).id == "key_a"
    assert table.asked[-1] == "a"
    await trio.sleep(1)
    assert await ring.find("x1999") is None
