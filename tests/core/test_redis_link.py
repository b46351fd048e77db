"""The link to Redis under a real server that is killed, stopped and full."""

import pytest
import trio
import trio.testing

from wharfd.errors import RedisRefused, RedisUnavailable
from wharfd.redis.breaker import Breaker
from wharfd.redis.link import open_redis
from wharfd.redis.scripts import Script
from wharfd.testing.redis import RedisServer


@pytest.fixture
def server(tmp_path):
    """A Redis of its own: these tests break it."""
    made = RedisServer(tmp_path)
    made.start()
    yield made
    made.resume()
    made.kill()


@pytest.fixture
async def link(bridge, server):
    breaker = Breaker(failures=2, first_pause=0.1, longest_pause=0.2)
    async with open_redis(bridge, server.url(), breaker=breaker, operation_seconds=0.5) as opened:
        yield opened


async def eventually(ask, seconds=60):
    """Wait until Redis answers again."""
    with trio.fail_after(seconds):
        while True:
            try:
                return await ask()
            except RedisUnavailable:
                await trio.sleep(0.02)


async def test_operations_and_scripts(link):
    await link.run(lambda redis: redis.set(b"a", b"1"))
    assert await link.run(lambda redis: redis.get(b"a")) == b"1"
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):  # unknown to the server at first, then by its hash
        assert await link.script(script, [b"k"], b"v") == [b"k", b"v"]


async def test_health(link, server):
    assert (await link.health()).state == "ok"
    server.command("CONFIG", "SET", "maxmemory", "1000000000")
    health = await link.health()
    assert (health.state, health.eviction_policy) == ("degraded", "noeviction")
    server.kill()
    assert (await link.health()).state == "away"


async def test_no_server_at_all(bridge, tmp_path):
    async with open_redis(bridge, f"unix://{tmp_path}/nothing.sock") as link:
        with pytest.raises(RedisUnavailable):
            await link.run(lambda redis: redis.ping())


async def test_a_slow_server_costs_one_deadline_and_then_nothing(bridge, server):
    breaker = Breaker(failures=2, first_pause=5, longest_pause=5)
    async with open_redis(bridge, server.url(), breaker=breaker) as link:
        server.pause()
        start = trio.current_time()
        refused = 0

        async def ask():
            nonlocal refused
            with pytest.raises(RedisUnavailable):
                await link.run(lambda redis: redis.ping())
            refused += 1

        async with trio.open_nursery() as nursery:
            for _ in range(200):  # more than there are connections: the wait for one counts too
                nursery.start_soon(ask)
        assert refused == 200
        assert trio.current_time() - start < 5  # one after the other they would take 10 s
        with trio.fail_after(60):
            while link.available:
                await ask()
        asked = link.statistics().operations
        for _ in range(1000):
            await ask()
        assert link.statistics().operations == asked
        assert link.statistics().breaker_opened == 1
        server.resume()


async def test_a_crowd_does_not_open_the_breaker(bridge, server):
    async with open_redis(bridge, server.url(), connections=2) as link:
        refused = []

        async def hold():
            await link.run(lambda redis: redis.blpop([b"never"], timeout=0.3), seconds=5)

        async def ask():
            with pytest.raises(RedisUnavailable, match="in use") as caught:
                await link.run(lambda redis: redis.ping())
            refused.append(caught.value)

        async with trio.open_nursery() as nursery:
            await hold()  # so that both connections are there before the crowd
            nursery.start_soon(hold)
            nursery.start_soon(hold)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(50):
                nursery.start_soon(ask)
        assert (len(refused), link.statistics().crowded) == (50, 50)
        assert link.statistics().breaker_opened == 0
        assert await link.run(lambda redis: redis.ping(), seconds=5)


async def test_callers_are_served_in_their_order(bridge, server):
    async with open_redis(bridge, server.url(), connections=2, operation_seconds=5) as link:
        counts = [0] * 6

        async def ask(number):
            while sum(counts) < 600:
                await link.run(lambda redis: redis.ping())
                counts[number] += 1

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(ask, number)
        assert min(counts) > 80


async def test_it_comes_back_by_itself(link, server):
    await link.run(lambda redis: redis.set(b"a", b"1"))
    server.restart()
    assert await eventually(lambda: link.run(lambda redis: redis.get(b"a"))) is None
    assert link.available


async def test_answers_never_meet_the_wrong_question(link, server):
    for number in range(50):
        await link.run(lambda redis, n=number: redis.set(b"k%d" % n, b"v%d" % n))
    wrong = []

    async def read(number):
        try:
            found = await link.run(lambda redis: redis.get(b"k%d" % number))
        except RedisUnavailable:
            return
        if found != b"v%d" % number:
            wrong.append((number, found))

    for _ in range(3):
        server.pause()
        async with trio.open_nursery() as nursery:
            for number in range(50):  # all of them give up while their answers are on the way
                nursery.start_soon(read, number)
        server.resume()
        await eventually(lambda: link.run(lambda redis: redis.ping()))
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(read, number)
    assert wrong == []


async def test_errors_of_the_server_do_not_open_the_breaker(link, server):
    await link.run(lambda redis: redis.set(b"text", b"x"))
    for _ in range(5):
        with pytest.raises(RedisRefused):
            await link.run(lambda redis: redis.lpush(b"text", b"y"))
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RedisRefused, match="maxmemory"):
        await link.run(lambda redis: redis.set(b"b", b"1"))
    assert link.available


async def test_a_password_does_not_show(bridge, server):
    server.command("CONFIG", "SET", "requirepass", "right-horse")
    url = server.url().replace("unix://", "unix://:wrong-horse@")
    async with open_redis(bridge, url) as link:
        with pytest.raises(RedisUnavailable) as caught:
            await link.run(lambda redis: redis.ping())
        assert "horse" not in str(caught.value) + repr(link) + link.where
        assert "horse" not in (await link.health()).detail


async def test_a_subscription_hears_and_notices_the_end(link, server):
    async with link.subscription("news") as subscription:
        server.command("PUBLISH", "news", b"\x00\xff")
        assert await subscription.next(silence_seconds=1) == b"\x00\xff"
        server.kill()
        with pytest.raises(RedisUnavailable):
            await subscription.next(silence_seconds=0.1)


async def test_a_subscription_notices_silence(link, server):
    async with link.subscription("news") as subscription:
        server.pause()
        with pytest.raises(RedisUnavailable, match="silent"):
            await subscription.next(silence_seconds=0.05)
        server.resume()


def test_the_breaker_opens_lets_one_through_and_closes():
    now = 0.0
    breaker = Breaker(failures=2, first_pause=1.0, longest_pause=4.0, now=lambda: now)

    def fail():
        with pytest.raises(OSError, match="no"), breaker.attempt(OSError):
            raise OSError("no")

    fail()
    assert breaker.admits()
    fail()
    assert not breaker.admits()
    now = 1.3
    assert breaker.admits()
    probe = breaker.attempt(OSError)
    with probe:
        assert not breaker.admits(), "one caller only"
    assert breaker.admits()
    assert not breaker.open
    with pytest.raises(KeyError), breaker.attempt(OSError):
        raise KeyError
    assert not breaker.open


def test_the_breakers_pause_doubles_up_to_its_bound():
    now = 0.0
    breaker = Breaker(failures=1, first_pause=1.0, longest_pause=4.0, now=lambda: now)
    for pause in (1, 2, 4, 4):
        with pytest.raises(OSError, match="no"), breaker.attempt(OSError):
            raise OSError("no")
        now += pause * 0.79
        assert not breaker.admits()
        now += pause * 0.42
        assert breaker.admits()
