"""The watchdog pings while the loop and the work move; a loop that stands still is noticed and explained."""

import threading

import pytest
import trio
from structlog.testing import capture_logs

from wharfd.log import log_context
from wharfd.stalls import StallWatch
from wharfd.systemd import Notifier
from wharfd.watchdog import Heartbeat, Watchdog


@pytest.fixture
async def manager(tmp_path):
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as server:
        await server.bind(str(tmp_path / "notify"))
        yield server


async def test_it_pings_as_long_as_everything_moves(manager, nursery):
    watchdog = Watchdog(Notifier(manager.getsockname()), 0.3, StallWatch(after_seconds=60))
    reasons = {"poller": None}
    with watchdog.watch("poller", lambda: reasons["poller"]), capture_logs() as logs:
        await nursery.start(watchdog.run)
        for _ in range(3):
            with trio.fail_after(60):
                assert await manager.recv(100) == b"WATCHDOG=1"
        reasons["poller"] = "has not polled for 61 s"
        while not logs:
            await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.move_on_after(1) as quiet:
            while True:  # pings that were under way
                await manager.recv(100)
        assert quiet.cancelled_caught
        assert logs[0]["event"] == "watchdog_withheld"
        assert logs[0]["stuck"] == {"poller": "has not polled for 61 s"}
        reasons["poller"] = None
        with trio.fail_after(60):
            assert await manager.recv(100) == b"WATCHDOG=1"
    assert watchdog.stuck() == {}
    assert 0 <= watchdog.lag_seconds <= watchdog.largest_lag_seconds
    nursery.cancel_scope.cancel()


async def test_a_name_is_watched_once_and_given_back():
    watchdog = Watchdog(Notifier(None), None, StallWatch())
    with watchdog.watch("flush", lambda: None):
        with (
            pytest.raises(ValueError, match="'flush' is watched already"),
            watchdog.watch("flush", lambda: None),
        ):
            pass
        assert watchdog.stuck() == {}
    with watchdog.watch("flush", lambda: "late"):
        assert watchdog.stuck() == {"flush": "late"}


def test_a_heartbeat_is_late_when_it_was_not_beaten():
    now = [100.0]
    heartbeat = Heartbeat(10, clock=lambda: now[0])
    now[0] += 10
    assert heartbeat() is None
    now[0] += 0.5
    assert heartbeat() == "no sign of life for 10.5 s, 10 s allowed"
    heartbeat.beat()
    assert heartbeat() is None


def block_until(event):
    assert event.wait(20)


async def test_a_blocked_loop_is_reported_with_plugin_task_and_stack(nursery):
    reported, seen = threading.Event(), []

    def on_stall(stall):
        seen.append(stall)
        reported.set()

    stalls = StallWatch(after_seconds=0.1, on_stall=on_stall)
    watchdog = Watchdog(Notifier(None), None, stalls)

    async def guilty():
        with log_context(plugin="orders"):
            block_until(reported)

    with capture_logs() as logs:
        await nursery.start(watchdog.run)
        async with trio.open_nursery() as inner:
            inner.start_soon(guilty, name="orders.worker")
        with trio.fail_after(60):
            while "event_loop_resumed" not in [entry["event"] for entry in logs]:
                await trio.testing.wait_all_tasks_blocked(0.02)
    nursery.cancel_scope.cancel()
    assert seen[0].plugin == "orders"
    assert "orders.worker" in seen[0].task
    assert any("in block_until" in place for place in seen[0].stack)
    assert seen[0].seconds >= 0.1
    blocked = next(entry for entry in logs if entry["event"] == "event_loop_blocked")
    assert (blocked["blocking_plugin"], blocked["log_level"]) == ("orders", "error")
    assert watchdog.largest_lag_seconds > 0


async def test_a_plugin_without_context_is_told_by_its_module(nursery):
    reported, seen = threading.Event(), []

    def on_stall(stall):
        seen.append(stall)
        reported.set()

    stalls = StallWatch(
        after_seconds=0.1,
        on_stall=on_stall,
        plugin_of_module=lambda module: "mine" if module == __name__ else None,
    )
    with capture_logs():
        await nursery.start(Watchdog(Notifier(None), None, stalls).run)
        block_until(reported)
    nursery.cancel_scope.cancel()
    assert seen[0].plugin == "mine"


async def test_a_long_stall_is_reported_again_and_the_thread_ends(nursery):
    twice, seen = threading.Event(), []

    def on_stall(stall):
        seen.append(stall.seconds)
        if len(seen) == 2:
            twice.set()

    with capture_logs(), StallWatch(after_seconds=0.05, on_stall=on_stall) as stalls:
        block_until(twice)
    assert seen[1] >= seen[0] * 1.9
    assert not stalls._thread.is_alive()
