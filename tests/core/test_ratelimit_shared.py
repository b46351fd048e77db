"""Rate limits over several nodes: Redis that lies, forgets or is gone; PostgreSQL that must be exact."""

import pytest
import trio

from wharfd.db import open_database, sql
from wharfd.ratelimit import Rate, RateLimiter
from wharfd.redis.breaker import Breaker
from wharfd.redis.link import open_redis
from wharfd.testing.redis import RedisServer

RATE = Rate(20, 3600)  # slow enough that no call comes back during a test


@pytest.fixture
def server(tmp_path):
    made = RedisServer(tmp_path)
    made.start()
    yield made
    made.resume()
    made.kill()


@pytest.fixture
async def node(bridge, server):
    async with _link(bridge, server) as link:
        yield RateLimiter(link, namespace="t")


@pytest.fixture
async def other_node(bridge, server):
    async with _link(bridge, server) as link:
        yield RateLimiter(link, namespace="t")


def _link(bridge, server, seconds=0.5):
    breaker = Breaker(first_pause=0.05, longest_pause=0.1)
    return open_redis(bridge, server.url(), breaker=breaker, operation_seconds=seconds)


def stored(server):
    """The key of the only budget in Redis."""
    (key,) = [part for part in server.command("KEYS", "t:r:*").split(b"\r\n") if part.startswith(b"t:r:")]
    return key


async def rush(count, *takers):
    """Take `count` times with each taker, all at once; returns the verdicts."""
    verdicts = []

    async def one(take):
        verdicts.append(await take())

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            for take in takers:
                nursery.start_soon(one, take)
    return verdicts


def admitted(verdicts):
    return sum(verdict.allowed for verdict in verdicts)


async def test_nodes_count_together(node, other_node):
    verdicts = await rush(40, lambda: node.take("n", "k", RATE), lambda: other_node.take("n", "k", RATE))
    assert admitted(verdicts) == RATE.calls
    assert not any(verdict.degraded for verdict in verdicts)
    assert (await node.take("n", "fresh", RATE)).remaining == RATE.calls - 1


async def test_calls_come_back_evenly(node):
    rate = Rate(10, 10)
    assert admitted(await rush(30, lambda: node.take("n", "k", rate))) == 10
    verdict = await node.take("n", "k", rate)
    assert not verdict.allowed
    await trio.sleep(verdict.reset_seconds + 0.01)  # what was promised is what is tested
    assert (await node.take("n", "k", rate)).allowed


async def test_a_known_offender_costs_no_question(node, server):
    await rush(25, lambda: node.take("n", "k", RATE))
    before = server.command("INFO", "commandstats")
    for _ in range(50):
        verdict = await node.take("n", "k", RATE)
        assert (verdict.allowed, verdict.source) == (False, "memory")
    asked = server.command("INFO", "commandstats")
    assert _calls(asked) == _calls(before)


def _calls(stats):
    line = next(part for part in stats.split(b"\r\n") if part.startswith(b"cmdstat_evalsha"))
    return int(line.split(b"calls=")[1].split(b",")[0])


async def test_a_flush_gives_no_node_more_than_the_rate(node, server):
    total = 0
    for _ in range(10):
        total += admitted(await rush(6, lambda: node.take("n", "k", RATE)))
        server.flush()
    assert total == RATE.calls


@pytest.mark.parametrize("lie", ["garbage", "-1", "nan", "inf", "1e300", "99999999999999999999", "", "0x10"])
async def test_a_lie_is_brought_into_range(node, other_node, server, lie):
    await node.take("n", "k", RATE)
    key = stored(server)
    server.command("SET", key, lie)
    verdict = await other_node.take("n", "k", RATE)
    assert 0 <= verdict.remaining < RATE.calls
    assert verdict.reset_seconds <= RATE.seconds
    assert admitted(await rush(50, lambda: node.take("n", "k", RATE))) < RATE.calls


async def test_a_key_of_another_kind_leaves_the_node_to_itself(node, server):
    await node.take("n", "k", RATE)
    key = stored(server)
    server.command("DEL", key)
    server.command("LPUSH", key, "x")
    verdicts = await rush(50, lambda: node.take("n", "k", RATE))
    assert admitted(verdicts) == RATE.calls - 1
    assert any(verdict.degraded for verdict in verdicts)


async def test_when_redis_dies_a_node_goes_on_from_what_it_knows(node, other_node, server):
    assert admitted(await rush(5, lambda: other_node.take("n", "k", RATE))) == 5
    assert (await node.take("n", "k", RATE)).remaining == RATE.calls - 6  # and so knows of the five
    server.kill()
    verdicts = await rush(50, lambda: node.take("n", "k", RATE))
    assert admitted(verdicts) == RATE.calls - 6
    assert all(verdict.degraded for verdict in verdicts if verdict.allowed)
    server.start()
    with trio.fail_after(60):
        while (await node.take("n", "other", RATE, cost=0)).degraded:
            await trio.sleep(0.01)
    assert admitted(await rush(50, lambda: node.take("n", "k", RATE))) == 0, "Redis forgot, the node did not"


async def test_a_stopped_redis_costs_one_deadline(bridge, server):
    async with _link(bridge, server, seconds=0.05) as link:
        node = RateLimiter(link, namespace="t")
        server.pause()
        start = trio.current_time()
        verdicts = await rush(200, lambda: node.take("n", "k", RATE))
        assert trio.current_time() - start < 5  # one after the other they would take 10 s
        assert admitted(verdicts) == RATE.calls
        server.resume()


async def test_a_full_redis_still_limits(node, server):
    server.command("CONFIG", "SET", "maxmemory", "1")
    verdicts = await rush(50, lambda: node.take("n", "k", RATE))
    assert admitted(verdicts) == RATE.calls
    assert any(verdict.degraded for verdict in verdicts)


async def test_redis_forgets_budgets_that_are_whole(node, server):
    await node.take("n", "k", Rate(10, 0.5))
    key = stored(server)
    assert 0 < int(server.command("PTTL", key)[1:]) <= 51


COUNT = sql("count_budgets", "SELECT count(*) FROM wharfd.rate_budgets")


async def test_durable_budgets_are_exact_over_nodes(db, bridge, database_settings):
    async with open_database(bridge, database_settings) as second:
        one, two = (RateLimiter(None, namespace="t", database=each) for each in (db, second))
        verdicts = await rush(
            40,
            lambda: one.take("n", "k", RATE, durable=True),
            lambda: two.take("n", "k", RATE, durable=True),
        )
    assert admitted(verdicts) == RATE.calls
    assert {verdict.source for verdict in verdicts} == {"database"}
    refused = await one.take("n", "k", RATE, durable=True)
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert 0 < refused.reset_seconds <= RATE.seconds / RATE.calls
    assert (await one.take("n", "other", RATE, cost=3, durable=True)).remaining == RATE.calls - 3


async def test_durable_budgets_come_back_and_are_pruned(db):
    limiter = RateLimiter(None, namespace="t", database=db)
    rate = Rate(5, 0.5)
    assert admitted([await limiter.take("n", "k", rate, durable=True) for _ in range(6)]) >= 5
    verdict = await limiter.take("n", "k", rate, cost=5, durable=True)
    await trio.sleep(verdict.reset_seconds + 0.01)  # what was promised is what is tested
    assert (await limiter.take("n", "k", rate, cost=5, durable=True)).allowed
    await limiter.take("n", "long", Rate(5, 3600), durable=True)
    await trio.sleep(0.51)
    assert await limiter.prune() == 1
    assert await db.fetchval(COUNT) == 1


async def test_durable_budgets_take_any_text(db):
    limiter = RateLimiter(None, namespace="t", database=db)
    for key in ("", "a" * 5000, "a" * 5001, "nul\x00", "ünï", "'; DROP TABLE x; --"):
        first = await limiter.take("n", key, RATE, durable=True)
        assert (first.allowed, first.remaining) == (True, RATE.calls - 1)
    assert await db.fetchval(COUNT) == 6


async def test_a_lowered_rate_holds_at_once(db):
    limiter = RateLimiter(None, namespace="t", database=db)
    await limiter.take("n", "k", Rate(10, 36000), cost=10, durable=True)
    verdict = await limiter.take("n", "k", Rate(10, 3600), durable=True)
    assert not verdict.allowed
    assert verdict.reset_seconds <= 3600


async def test_without_the_database_a_durable_budget_says_no(bridge, database_settings):
    async with open_database(bridge, database_settings) as database:
        limiter = RateLimiter(None, namespace="t", database=database)
        assert (await limiter.take("n", "k", RATE, durable=True)).allowed
    verdict = await limiter.take("n", "k", RATE, durable=True)
    assert (verdict.allowed, verdict.degraded, verdict.source) == (False, True, "database")
