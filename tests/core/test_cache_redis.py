"""Both levels on a real Redis: two nodes, outages, lies."""

import msgspec
import pytest
import trio
import trio.testing

from wharfd.cache import Cache, CacheLimits
from wharfd.redis.breaker import Breaker
from wharfd.redis.link import open_redis
from wharfd.testing.redis import RedisServer


class Price(msgspec.Struct, frozen=True):
    cents: int


@pytest.fixture
def server(tmp_path):
    made = RedisServer(tmp_path)
    made.start()
    yield made
    made.resume()
    made.kill()


@pytest.fixture
async def make_node(bridge, nursery):
    """Make the cache of one more node on the same Redis."""

    async def node(url, *, listen=True, operation_seconds=0.5, **keywords):
        link = await nursery.start(_hold_link, bridge, url, operation_seconds)
        limits = CacheLimits(silence_seconds=0.1, outage_seconds=0.1)
        cache = Cache(link, namespace="t", **{"limits": limits, **keywords})
        if listen:
            await nursery.start(cache.run)
            await until(lambda: cache.statistics().listening)
        return cache

    yield node
    nursery.cancel_scope.cancel()


async def _hold_link(bridge, url, operation_seconds, task_status):
    breaker = Breaker(failures=2, first_pause=0.05, longest_pause=0.1)
    async with open_redis(bridge, url, breaker=breaker, operation_seconds=operation_seconds) as link:
        task_status.started(link)
        await trio.sleep_forever()


async def until(condition, seconds=60):
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


class Source:
    def __init__(self, value):
        self.value = value
        self.calls = 0
        self.began = trio.Event()
        self.hold = None

    async def __call__(self):
        self.calls += 1
        value = self.value
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        return value


def entries(server):
    """The keys of values in Redis."""
    reply = server.command("KEYS", "t:c:*").split(b"\r\n")
    return [part for part in reply if part.startswith(b"t:c:")]


async def test_a_second_node_finds_what_the_first_computed(make_node, redis_url):
    one, two = await make_node(redis_url), await make_node(redis_url)
    first, second = Source(Price(5)), Source(Price(6))
    assert await one.get("price", "x", first, ttl=60, tags=["x"], type=Price) == Price(5)
    assert await two.get("price", "x", second, ttl=60, tags=["x"], type=Price) == Price(5)
    assert second.calls == 0
    assert two.statistics().names["price"].redis_hits == 1


async def test_other_nodes_hear_an_invalidation(make_node, redis_url):
    one, two = await make_node(redis_url), await make_node(redis_url)
    source = Source("old")
    for node in (one, two):
        await node.get("n", 1, source, ttl=60, tags=["t"])
    source.value = "new"
    await one.invalidate("t")
    await until(lambda: two.statistics().heard == 1)
    assert [await node.get("n", 1, source, ttl=60, tags=["t"]) for node in (one, two)] == ["new", "new"]
    assert source.calls == 2
    assert one.statistics().heard == 0, "its own message is not for itself"


async def test_a_compute_on_another_node_that_was_overtaken_is_never_found(make_node, redis_url):
    one, two = await make_node(redis_url, listen=False), await make_node(redis_url, listen=False)
    slow = Source("old")
    slow.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: one.get("n", 1, slow, ttl=60, tags=["t"]))
        await slow.began.wait()
        await two.invalidate("t")  # node one cannot hear it, and stores its old value afterwards
        slow.hold.set()
    await one.get("m", 1, Source("x"), ttl=60)  # the write of the old value is over
    assert await two.get("n", 1, Source("new"), ttl=60, tags=["t"]) == "new"
    three = await make_node(redis_url, listen=False)
    assert await three.get("n", 1, Source("not needed"), ttl=60, tags=["t"]) == "new"


async def test_invalidate_soon_reaches_the_others(make_node, redis_url):
    one, two = await make_node(redis_url), await make_node(redis_url)
    source = Source("old")
    for node in (one, two):
        await node.get("n", 1, source, ttl=60, tags=["t"])
    source.value = "new"
    one.invalidate_soon("t")
    assert await one.get("n", 1, source, ttl=60, tags=["t"]) == "new"
    await until(lambda: two.statistics().heard == 1)
    assert await two.get("n", 1, source, ttl=60, tags=["t"]) == "new"


async def test_values_expire_in_redis(make_node, redis_url, redis_server):
    node = await make_node(redis_url)
    await node.get("n", 1, Source("x"), ttl=60)
    (key,) = entries(redis_server)
    assert 50_000 < int(redis_server.command("PTTL", key)[1:]) <= 60_000


async def test_flushing_loses_nothing(make_node, server):
    node = await make_node(server.url(), limits=CacheLimits(max_entries=1))
    sources = [Source(n) for n in range(20)]
    stop = trio.Event()

    async def read():
        while not stop.is_set():
            for number, source in enumerate(sources):
                assert await node.get("n", number, source, ttl=60, tags=[f"t{number}"]) == number

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(20):
            server.flush()
            await trio.sleep(0.005)
        stop.set()
    assert node.statistics().names["n"].away == 0


async def test_killing_redis_is_only_slower(make_node, server):
    limits = CacheLimits(outage_seconds=0.05, silence_seconds=0.1)
    node = await make_node(server.url(), operation_seconds=0.05, limits=limits)
    source = Source(7)
    stop = trio.Event()
    slowest = 0.0

    async def read():
        nonlocal slowest
        while not stop.is_set():
            start = trio.current_time()
            assert await node.get("n", 1, source, ttl=60, tags=["t"]) == 7
            slowest = max(slowest, trio.current_time() - start)
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(read)
        await trio.sleep(0.05)
        server.kill()
        await until(lambda: not node.statistics().listening)
        await until(lambda: node.statistics().names["n"].away > 0)
        calls = source.calls
        await until(lambda: source.calls > calls)  # the short life of the first level during an outage
        server.start()
        await until(lambda: node.statistics().listening)
        stop.set()
    assert slowest < 3


async def test_a_stopped_redis_costs_one_deadline_at_a_time(make_node, server):
    node = await make_node(server.url(), listen=False, operation_seconds=0.05)
    server.pause()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(lambda n=number: node.get("n", n, Source(n), ttl=60))
    assert trio.current_time() - start < 8  # 300 deadlines one after the other would be 15 s
    assert node.statistics().names["n"].away == 300


async def test_an_invalidation_during_an_outage_is_not_lost(make_node, server):
    one, two = await make_node(server.url()), await make_node(server.url())
    source = Source("old")
    await one.get("n", 1, source, ttl=60, tags=["t"])
    server.pause()  # the old value stays in there
    source.value = "new"
    with trio.fail_after(2):
        await one.invalidate("t")
    assert one.statistics().pending_invalidations == 1
    assert await one.get("n", 1, source, ttl=60, tags=["t"]) == "new"
    server.resume()
    await until(lambda: one.statistics().pending_invalidations == 0)
    await until(lambda: two.statistics().listening)
    fresh = Source("new too")
    assert await two.get("n", 1, fresh, ttl=60, tags=["t"]) == "new too"


async def test_while_an_invalidation_is_pending_redis_is_not_believed(make_node, server):
    node = await make_node(server.url(), listen=False)
    source = Source("old")
    await node.get("n", 1, source, ttl=60, tags=["t"])
    node.invalidate_soon("t")  # nobody sends it: run() is not running
    source.value = "new"
    assert await node.get("n", 1, source, ttl=60, tags=["t"]) == "new"
    assert node.statistics().names["n"].redis_hits == 0
    await node.clear()
    assert node.statistics().pending_invalidations == 0


async def test_a_gap_in_listening_empties_the_first_level(make_node, server):
    one, two = await make_node(server.url()), await make_node(server.url(), listen=False)
    source = Source("old")
    await one.get("n", 1, source, ttl=60, tags=["t"])
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    source.value = "new"
    await two.invalidate("t")  # perhaps unheard by node one
    await until(lambda: one.statistics().listening)
    await until(lambda: one.statistics().entries == 0)
    assert await one.get("n", 1, source, ttl=60, tags=["t"]) == "new"


async def test_a_deaf_node_soon_asks_redis_again(make_node, redis_url):
    one, two = await make_node(redis_url, listen=False), await make_node(redis_url, listen=False)
    source = Source("old")
    await one.get("n", 1, source, ttl=60, tags=["t"])
    source.value = "new"
    await two.invalidate("t")
    await trio.sleep(0.12)  # outage_seconds, which is what is tested
    assert await one.get("n", 1, source, ttl=60, tags=["t"]) == "new"


@pytest.mark.parametrize("lie", [b"", b"garbage", b"\x00" * 200, b"\xc1" * 40])
async def test_garbage_is_a_miss(make_node, redis_url, redis_server, lie):
    one, two = await make_node(redis_url), await make_node(redis_url)
    await one.get("n", 1, Source("x"), ttl=60, tags=["t"])
    (key,) = entries(redis_server)
    redis_server.command("SET", key, lie, "EX", "60")
    source = Source("truth")
    assert await two.get("n", 1, source, ttl=60, tags=["t"]) == "truth"
    assert two.statistics().names["n"].lies == 1


async def test_a_value_under_another_key_is_a_miss(make_node, redis_url, redis_server):
    one, two = await make_node(redis_url), await make_node(redis_url)
    await one.get("role", "guest", Source("reader"), ttl=60)
    (guest,) = entries(redis_server)
    await one.get("role", "root", Source("admin"), ttl=60)
    (root,) = [key for key in entries(redis_server) if key != guest]
    redis_server.command("COPY", root, guest, "REPLACE")
    assert await two.get("role", "guest", Source("reader"), ttl=60) == "reader"
    assert two.statistics().names["role"].lies == 1


async def test_one_flipped_bit_is_a_miss(make_node, redis_url, redis_server):
    one, two = await make_node(redis_url), await make_node(redis_url)
    await one.get("n", 1, Source(1000), ttl=60)
    (key,) = entries(redis_server)
    before = redis_server.command("GETBIT", key, "200")
    redis_server.command("SETBIT", key, "200", "0" if before == b":1\r\n" else "1")
    assert await two.get("n", 1, Source(1000), ttl=60) == 1000
    assert two.statistics().names["n"].lies == 1


async def test_a_forged_value_is_a_miss(make_node, redis_url):
    forger = await make_node(redis_url)  # knows the format, not the key
    node = await make_node(redis_url, seal_key=b"secret")
    await forger.get("role", "guest", Source("admin"), ttl=60)
    assert await node.get("role", "guest", Source("reader"), ttl=60) == "reader"
    assert node.statistics().names["role"].lies == 1


async def test_a_key_of_another_kind_is_a_miss(make_node, redis_url, redis_server):
    one, two = await make_node(redis_url), await make_node(redis_url)
    await one.get("n", 1, Source("x"), ttl=60)
    (key,) = entries(redis_server)
    redis_server.command("DEL", key)
    redis_server.command("LPUSH", key, "x")
    assert await two.get("n", 1, Source("truth"), ttl=60) == "truth"
    assert two.statistics().names["n"].lies == 1


async def test_a_value_of_another_version_is_computed_afresh_once(make_node, redis_url):
    old, new = await make_node(redis_url), await make_node(redis_url)
    await old.get("price", "x", Source({"pounds": 5}), ttl=60)
    source = Source(Price(500))
    for _ in range(3):
        assert await new.get("price", "x", source, ttl=60, type=Price) == Price(500)
    assert source.calls == 1
    third = await make_node(redis_url)
    assert await third.get("price", "x", Source(None), ttl=60, type=Price) == Price(500)


async def test_a_full_redis_is_a_miss(make_node, server):
    server.command("CONFIG", "SET", "maxmemory", "1")
    node = await make_node(server.url())
    for number in range(3):
        assert await node.get("n", number, Source(number), ttl=60, tags=["t"]) == number
    source = Source("kept in the first level")
    for _ in range(2):
        await node.get("m", 0, source, ttl=60)
    assert source.calls == 1
    assert node.statistics().redis == "ok"
    await node.invalidate("t")  # cannot be written, and must not raise
    assert node.statistics().pending_invalidations == 1


async def test_a_small_redis_that_evicts_never_lies(make_node, server):
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.command("CONFIG", "SET", "maxmemory", "2500000")
    node = await make_node(server.url(), limits=CacheLimits(max_entries=1))
    versions = [0] * 40
    for step in range(400):
        number = step * 7 % 40
        if step % 5 == 0:
            versions[number] += 1
            await node.invalidate(f"t{number}")
        value = await node.get(
            "n", number, Source([versions[number], "x" * 60_000]), ttl=60, tags=[f"t{number}"]
        )
        assert value[0] == versions[number]
    for number in (0, 1, 0):  # what was used last but one is still there; of the others that is luck
        await node.get("n", number, Source([versions[number], "x" * 60_000]), ttl=60, tags=[f"t{number}"])
    assert node.statistics().names["n"].redis_hits > 0
    assert b"\r\nevicted_keys:0\r\n" not in server.command("INFO", "stats")


async def test_unreadable_messages_empty_the_first_level(make_node, redis_url, redis_server):
    node = await make_node(redis_url)
    await node.get("n", 1, Source("x"), ttl=60)
    redis_server.command("PUBLISH", "t:invalidate", b"\xc1 what")
    await until(lambda: node.statistics().entries == 0)


async def test_two_nodes_reading_and_writing_see_no_old_state(make_node, redis_url):
    nodes = [await make_node(redis_url), await make_node(redis_url)]
    truth = 0
    wrong = []
    stop = trio.Event()

    async def compute():
        seen = truth
        await trio.sleep(0.001)
        return seen

    async def read(node):
        while not stop.is_set():
            before = truth_told
            got = await node.get("n", 0, compute, ttl=60, tags=["t"])
            if got < before:
                wrong.append((got, before))
            await trio.lowlevel.checkpoint()

    truth_told = 0  # what every node has been told of, for certain
    async with trio.open_nursery() as nursery:
        for node in nodes:
            for _ in range(4):
                nursery.start_soon(read, node)
        for _ in range(60):
            truth += 1
            heard = nodes[1].statistics().heard
            await nodes[0].invalidate("t")
            await until(lambda heard=heard: nodes[1].statistics().heard > heard)
            truth_told = truth
        stop.set()
    assert wrong == []
