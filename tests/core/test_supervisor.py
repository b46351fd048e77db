import sys

import pytest
import trio

from wharfd.errors import NotReady
from wharfd.supervisor import Life, StartFailed, State, Supervisor


class Recorder:
    """A plugin life that does what the test says and counts what happened to it."""

    def __init__(self, behaviour, name="p", **options):
        self.behaviour, self.started, self.ended = behaviour, [], 0
        self.life = Life(name, "test", self.live, self.end, **options)

    async def live(self, nursery, ready):
        self.started.append(trio.current_time())
        await self.behaviour(nursery, ready, len(self.started))

    async def end(self):
        self.ended += 1


async def serve(nursery, ready, attempt):
    ready()
    await trio.sleep_forever()


async def crash_soon(nursery, ready, attempt):
    ready()
    await trio.sleep(0.5)
    raise RuntimeError("boom")


async def test_crashing_plugin_backs_off_then_is_quarantined_while_its_sibling_runs(autojump_clock, nursery):
    supervisor = Supervisor()
    bad, good = Recorder(crash_soon, "bad"), Recorder(serve, "good")
    for plugin in (bad, good):
        await nursery.start(supervisor.add(plugin.life).supervise)
    began = trio.current_time()
    with trio.move_on_after(60):
        await trio.sleep_forever()
    offsets = [at - began for at in bad.started]
    assert offsets == pytest.approx([0, 1.5, 4, 8.5, 17], rel=0.15)
    assert supervisor.plugins["bad"].state is State.QUARANTINED
    assert supervisor.plugins["bad"].last_error == "RuntimeError: boom"
    assert bad.ended == 5
    assert supervisor.running("good")
    assert good.started == [began]
    nursery.cancel_scope.cancel()


async def test_quarantine_ends_by_itself_and_by_resume(autojump_clock, nursery):
    supervisor = Supervisor()
    bad = Recorder(crash_soon)
    supervised = supervisor.add(bad.life)
    await nursery.start(supervised.supervise)
    with trio.move_on_after(30):
        await trio.sleep_forever()
    assert supervised.state is State.QUARANTINED
    assert 0 < supervised.status.retry_in_seconds <= 900
    supervised.resume()
    with trio.move_on_after(0.1):
        await trio.sleep_forever()
    assert supervised.state is State.RUNNING
    assert len(bad.started) == 6
    nursery.cancel_scope.cancel()


async def test_not_ready_is_retried_and_never_quarantined(autojump_clock, nursery):
    async def becomes_ready(inner, ready, attempt):
        if attempt <= 8:
            raise NotReady("the server is away")
        await serve(inner, ready, attempt)

    supervisor = Supervisor()
    plugin = Recorder(becomes_ready)
    supervised = supervisor.add(plugin.life)
    await nursery.start(supervised.supervise)
    assert supervised.state is State.RESTARTING
    with trio.move_on_after(400):
        await trio.sleep_forever()
    assert supervised.state is State.RUNNING
    assert supervised.last_error is None
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("fault", [SystemExit(3), RuntimeError(), ExceptionGroup("g", [ValueError("x")])])
async def test_whatever_a_plugin_raises_stays_inside(autojump_clock, nursery, fault):
    async def raises(inner, ready, attempt):
        if attempt == 1:
            raise fault
        await serve(inner, ready, attempt)

    supervised = Supervisor().add(Recorder(raises).life)
    await nursery.start(supervised.supervise)
    assert supervised.last_error
    with trio.move_on_after(5):
        await trio.sleep_forever()
    assert supervised.state is State.RUNNING
    nursery.cancel_scope.cancel()


async def test_background_task_crash_counts_as_plugin_crash(autojump_clock, nursery):
    async def spawns(inner, ready, attempt):
        async def dies():
            await trio.sleep(1)
            sys.exit("gone")

        inner.start_soon(dies)
        await serve(inner, ready, attempt)

    plugin = Recorder(spawns)
    supervised = Supervisor().add(plugin.life)
    await nursery.start(supervised.supervise)
    with trio.move_on_after(1.5):
        await trio.sleep_forever()
    assert supervised.restarts == 1
    assert plugin.ended == 1
    nursery.cancel_scope.cancel()


async def test_slow_start_is_a_failure_with_its_limit_named(autojump_clock, nursery):
    async def never_ready(inner, ready, attempt):
        await trio.sleep_forever()

    supervised = Supervisor().add(Recorder(never_ready, start_timeout=7).life)
    await nursery.start(supervised.supervise)
    assert supervised.last_error == "TimeoutError: it did not start within 7 s"
    nursery.cancel_scope.cancel()


async def test_on_start_failure_fail_stops_the_daemon(autojump_clock):
    async def raises(inner, ready, attempt):
        raise ValueError("bad key")

    supervised = Supervisor().add(Recorder(raises, on_start_failure="fail").life)
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervised.supervise)
    assert caught.group_contains(StartFailed, match="plugin p did not start: ValueError: bad key")


async def test_on_start_failure_ignore_leaves_it_out(autojump_clock, nursery):
    async def raises(inner, ready, attempt):
        raise ValueError("bad key")

    plugin = Recorder(raises, on_start_failure="ignore")
    supervised = Supervisor().add(plugin.life)
    await nursery.start(supervised.supervise)
    with trio.move_on_after(100):
        await trio.sleep_forever()
    assert supervised.state is State.FAILED
    assert len(plugin.started) == 1


async def test_stop_runs_cleanup_under_cancellation(autojump_clock, nursery):
    cleaned = []

    async def end():
        await trio.sleep(1)
        cleaned.append(True)

    async def live(inner, ready):
        ready()
        await trio.sleep_forever()

    supervised = Supervisor().add(Life("p", "test", live, end))
    await nursery.start(supervised.supervise)
    supervised.stop()
    with trio.move_on_after(5):
        await trio.sleep_forever()
    assert cleaned == [True]
    assert supervised.state is State.STOPPED


async def test_cleanup_that_hangs_or_raises_is_bounded(autojump_clock, nursery):
    async def live(inner, ready):
        ready()
        raise RuntimeError("x")

    async def hang():
        await trio.sleep_forever()

    supervised = Supervisor().add(Life("p", "test", live, hang, stop_timeout=3))
    await nursery.start(supervised.supervise)
    with trio.move_on_after(10):
        await trio.sleep_forever()
    assert supervised.restarts >= 2
    nursery.cancel_scope.cancel()


async def test_state_changes_are_observed_and_observers_contained(autojump_clock, nursery):
    seen = []
    supervisor = Supervisor()
    supervisor.observe(lambda plugin, old, new: 1 / 0)
    supervisor.observe(lambda plugin, old, new: seen.append(f"{old}>{new}"))
    await nursery.start(supervisor.add(Recorder(serve).life).supervise)
    assert seen == ["waiting>starting", "starting>running"]
    nursery.cancel_scope.cancel()


async def test_observers_hear_of_a_plugin_that_cannot_run_and_that_it_is_gone():
    supervisor, heard = Supervisor(), []
    supervisor.observe(lambda *change: heard.append(change))
    supervisor.add_broken("p", "test", "import failed")
    supervisor.remove("p")
    assert heard == [("p", "waiting", "failed"), ("p", "failed", "stopped")]
    assert supervisor.statuses() == []
