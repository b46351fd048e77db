"""The cache without Redis: single flight, staleness, bounds, keys, types."""

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wharfd.cache import Cache, CacheLimits
from wharfd.cache.keys import KeySpace


class Totals(msgspec.Struct, frozen=True):
    owner: str
    amounts: tuple[int, ...]


class Source:
    """Counts how often it is asked; `hold` keeps the answer back."""

    def __init__(self, value="value"):
        self.value = value
        self.calls = 0
        self.hold = None
        self.began = trio.Event()

    async def __call__(self):
        self.calls += 1
        value = self.value
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture
def cache():
    return Cache(None, namespace="t")


async def test_a_value_is_computed_once(cache):
    source = Source()
    for _ in range(3):
        assert await cache.get("n", 1, source, ttl=60) == "value"
    assert source.calls == 1
    counted = cache.statistics().names["n"]
    assert (counted.local_hits, counted.misses, counted.hit_rate) == (2, 1, 2 / 3)


async def test_it_expires(cache, autojump_clock):
    source = Source()
    await cache.get("n", 1, source, ttl=10)
    await trio.sleep(9.9)
    await cache.get("n", 1, source, ttl=10)
    assert source.calls == 1
    await trio.sleep(0.2)
    await cache.get("n", 1, source, ttl=10)
    assert source.calls == 2


async def test_a_hundred_callers_share_one_compute(cache):
    source = Source()
    source.hold = trio.Event()
    got = []

    async def ask():
        got.append(await cache.get("n", 1, source, ttl=60))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        source.hold.set()
    assert (source.calls, got) == (1, ["value"] * 100)
    assert cache.statistics().names["n"].coalesced == 99


async def test_a_cancelled_leader_hands_over(cache):
    source = Source()
    source.hold = trio.Event()
    got = []

    async def ask():
        got.append(await cache.get("n", 1, source, ttl=60))

    async with trio.open_nursery() as nursery:
        leader = await nursery.start(_cancellable, cache, source)
        await source.began.wait()
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        leader.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert source.calls == 2
        source.hold.set()
    assert got == ["value"] * 5


async def _cancellable(cache, source, task_status):
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await cache.get("n", 1, source, ttl=60)


async def test_a_failure_reaches_all_who_waited_and_is_not_kept(cache):
    source = Source(RuntimeError("no database"))
    source.hold = trio.Event()
    failed = []

    async def ask():
        try:
            await cache.get("n", 1, source, ttl=60)
        except RuntimeError as exc:
            failed.append(str(exc))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        source.hold.set()
    assert (source.calls, failed) == (1, ["no database"] * 3)
    source.value = "well again"
    assert await cache.get("n", 1, source, ttl=60) == "well again"


async def test_none_is_not_kept(cache):
    source = Source(None)
    assert await cache.get("n", 1, source, ttl=60) is None
    assert await cache.get("n", 1, source, ttl=60) is None
    assert source.calls == 2


async def test_invalidation_drops_what_has_the_tag_and_nothing_else(cache):
    mine, other = Source("mine"), Source("other")
    await cache.get("n", 1, mine, ttl=60, tags=["a", "b"])
    await cache.get("n", 2, other, ttl=60, tags=["c"])
    await cache.invalidate("b")
    mine.value = "new"
    assert await cache.get("n", 1, mine, ttl=60, tags=["a", "b"]) == "new"
    assert await cache.get("n", 2, other, ttl=60, tags=["c"]) == "other"
    assert other.calls == 1


async def test_a_compute_that_was_overtaken_is_not_kept(cache):
    source = Source("old")
    source.hold = trio.Event()
    got = []

    async def ask():
        got.append(await cache.get("n", 1, source, ttl=60, tags=["t"]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await source.began.wait()
        source.value = "new"
        await cache.invalidate("t")
        nursery.start_soon(ask)  # came after the invalidation: must not be given the old one
        await trio.testing.wait_all_tasks_blocked()
        source.hold.set()
    assert sorted(got) == ["new", "old"]
    assert await cache.get("n", 1, source, ttl=60, tags=["t"]) == "new"
    assert source.calls == 2
    assert cache.statistics().names["n"].stale == 1


async def test_a_compute_may_ask_for_other_values_and_even_for_its_own(cache):
    async def inner():
        return 1

    async def outer():
        return 1 + await cache.get("inner", 0, inner, ttl=60)

    async def itself():
        return await cache.get("self", 0, inner, ttl=60)

    assert await cache.get("outer", 0, outer, ttl=60) == 2
    with trio.fail_after(1):
        assert await cache.get("self", 0, itself, ttl=60) == 1


async def test_what_one_caller_does_to_a_value_stays_with_it(cache):
    source = Source({"a": [1]})
    (await cache.get("n", 1, source, ttl=60))["a"].append(2)
    assert await cache.get("n", 1, source, ttl=60) == {"a": [1]}


async def test_structs_come_back_as_structs_hit_or_miss(cache):
    source = Source(Totals("o", (1, 2)))
    for _ in range(2):
        assert await cache.get("n", 1, source, ttl=60, type=Totals) == Totals("o", (1, 2))
    assert await cache.get("n", 1, source, ttl=60) == {"owner": "o", "amounts": [1, 2]}


async def test_a_value_that_cannot_be_encoded_is_an_error(cache):
    with pytest.raises(TypeError, match="cache n: the value cannot be kept"):
        await cache.get("n", 1, Source(object()), ttl=60)
    with pytest.raises(ValueError, match="ttl"):
        await cache.get("n", 1, Source(), ttl=0)
    with pytest.raises(ValueError, match="tags"):
        await cache.get("n", 1, Source(), ttl=1, tags=[str(n) for n in range(17)])
    with pytest.raises(ValueError, match="empty"):
        await cache.invalidate("")


async def test_the_first_level_is_bounded():
    cache = Cache(
        None, namespace="t", limits=CacheLimits(max_entries=10, max_bytes=20_000, max_value_bytes=5_000)
    )
    for number in range(50):
        await cache.get("n", number, Source("x"), ttl=60, tags=[f"t{number}"])
    assert cache.statistics().entries == 10
    for number in range(50):
        await cache.get("big", number, Source("x" * 4_000), ttl=60)
    assert cache.statistics().bytes <= 20_000
    huge = Source("x" * 6_000)
    for _ in range(2):
        await cache.get("huge", 0, huge, ttl=60)
    assert (huge.calls, cache.statistics().names["huge"].oversized) == (2, 2)
    assert len(cache._engine.local._by_tag) <= 10 + 1


async def test_least_recently_used_goes_first():
    cache = Cache(None, namespace="t", limits=CacheLimits(max_entries=2))
    kept, lost = Source("kept"), Source("lost")
    await cache.get("n", "kept", kept, ttl=60)
    await cache.get("n", "lost", lost, ttl=60)
    await cache.get("n", "kept", kept, ttl=60)
    await cache.get("n", "third", Source(), ttl=60)
    await cache.get("n", "kept", kept, ttl=60)
    await cache.get("n", "lost", lost, ttl=60)
    assert (kept.calls, lost.calls) == (1, 2)


async def test_plugins_do_not_see_each_other(cache):
    one, two = cache.named("one"), cache.named("two")
    first, second = Source("first"), Source("second")
    assert await one.get("n", 1, first, ttl=60, tags=["t"]) == "first"
    assert await two.get("n", 1, second, ttl=60, tags=["t"]) == "second"
    await two.invalidate("t")
    await one.get("n", 1, first, ttl=60, tags=["t"])
    assert first.calls == 1
    assert set(one.statistics().names) == {"n"}
    await one.clear()
    assert cache.statistics().entries == 0


async def test_names_are_bounded(cache):
    for number in range(1200):
        await cache.get(f"n{number}", 0, Source(), ttl=60)
    assert len(cache.statistics().names) <= 1001


keys = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6) | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def _shape(key):
    if isinstance(key, tuple):
        return ("tuple", *map(_shape, key))
    return (type(key).__name__, key)


@given(st.text(max_size=5), keys, st.text(max_size=5), keys)
def test_different_keys_never_meet(name, key, other_name, other_key):
    space = KeySpace("ns")
    same = (name, _shape(key)) == (other_name, _shape(other_key))
    assert (space.entry(name, key) == space.entry(other_name, other_key)) is same
    assert space.entry(name, key) != KeySpace("ns2").entry(name, key)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "bc"), ("ab", "c")), (1, "1"), (1, True), (("a",), "a"), ((), None), (b"a", "a")],
)
def test_keys_that_look_alike(one, other):
    space = KeySpace("ns")
    assert space.entry("n", one) != space.entry("n", other)
    assert space.entry_key(space.entry("n", "\r\n *")).isascii()


class Model:
    """Reads through a cache while a writer changes the truth; checks that no read is older than its start."""

    def __init__(self, cache):
        self.cache = cache
        self.truth = 0
        self.wrong = []

    async def compute(self):
        seen = self.truth
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        return seen

    async def read(self, times):
        for _ in range(times):
            before = self.truth
            got = await self.cache.get("n", 0, self.compute, ttl=60, tags=["t"])
            if got < before:
                self.wrong.append((got, before))

    async def write(self, times):
        for _ in range(times):
            self.truth += 1
            self.cache.invalidate_soon("t")
            for _ in range(3):
                await trio.lowlevel.checkpoint()


async def test_no_read_that_begins_after_an_invalidation_sees_the_old_state(cache):
    model = Model(cache)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(model.read, 300)
        nursery.start_soon(model.write, 300)
    assert model.wrong == []
    counted = cache.statistics().names["n"]
    assert counted.coalesced > 0
    assert counted.local_hits > 0
