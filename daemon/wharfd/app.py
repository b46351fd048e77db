"""The whole start and stop order of the daemon, top to bottom.

`prepare` reads and checks everything that can be known without opening anything; `run` opens it all in order
and gives it back in reverse. What the parts do is theirs; here is only when.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from . import log as logging
from .bench import Benches, Progress, Report, carry_out
from .bench import Plan as BenchPlan
from .config import Configuration, configuration_text, load_configuration
from .contracts.daemon import CONFIGURATION_FILE, REHEARSAL
from .contracts.database import DATABASE_SERVER
from .core_routes import core_routes
from .db import open_bridge, sql
from .db.bridge import unwrapped
from .db.embedded.settings import wrong as wrong_settings
from .errors import ConfigError, Problem
from .front import Front, Sockets
from .intake import open_intake
from .life import PluginLives
from .loading import LoadedPlugin, PluginHost, find_plugins
from .machinery import Machinery, open_machinery
from .opening import bench_targets, migrate, node_name, opened_database
from .registry import Registry, collect
from .rehearsal import DaemonRehearsal, StartedWith
from .reload import Reloader
from .sources import own_sources
from .state import own_state_folder
from .supervisor import Supervisor
from .systemd import Notifier, listen_fds
from .upkeep import Upkeep
from .watching import open_health, watch_process

log = structlog.get_logger("wharfd.app")
_MIGRATED = sql("bench.migrated", "SELECT to_regclass('wharfd.queue_rates') IS NOT NULL")


@dataclass(frozen=True)
class Prepared:
    """A configuration that is good, and the plugins it names."""

    path: Path | None
    state_dir: Path
    configuration: Configuration
    registry: Registry


@dataclass(frozen=True)
class Running:
    """A daemon that serves: where, with what, and how to end it."""

    api: list[str]
    ingest: list[str]
    machinery: Machinery
    supervisor: Supervisor
    lives: PluginLives
    reloader: Reloader
    notifier: Notifier
    stop: trio.Event = field(default_factory=trio.Event)


def prepare(
    path: Path | None, state_dir: Path, environ: Mapping[str, str], *, unseen_is_wrong: bool = True
) -> Prepared:
    """Read the configuration, import the plugins and gather what they declare.

    Raises `ConfigError` with everything that is wrong, in one report. A plugin that cannot be loaded is not
    in it: it is kept as broken, and the others run. A secret that only the daemon can read is wrong for all
    but those who say otherwise, and do not run what they prepare.
    """
    configuration = load_configuration(configuration_text(path), environ, name=str(path or "configuration"))
    core = configuration.core
    found, missing = find_plugins(dict.fromkeys(configuration.enabled), core.daemon.plugins_dir)
    return assemble(
        configuration, found, missing, path=path, state_dir=state_dir, unseen_is_wrong=unseen_is_wrong
    )


def assemble(
    configuration: Configuration,
    plugins: Iterable[LoadedPlugin],
    problems: Iterable[Problem] = (),
    *,
    path: Path | None,
    state_dir: Path,
    unseen_is_wrong: bool = True,
) -> Prepared:
    """Gather what the plugins declare; raises `ConfigError` with these problems and those that show up."""
    host = PluginHost()
    for plugin in plugins:
        host.add(plugin)
    registry, wrong = collect(host, configuration)
    found = [
        *configuration.problems,
        *problems,
        *wrong,
        *(configuration.unseen if unseen_is_wrong else ()),
        *wrong_settings(configuration.core.database.settings),
    ]
    if found:
        raise ConfigError(found)
    return Prepared(path, state_dir, configuration, registry)


def run_until_stopped(prepared: Prepared) -> int:
    """Run the daemon in this process until SIGTERM or SIGINT; return the exit code."""
    core = prepared.configuration.core
    levels = {n: p.log_level for n, p in prepared.configuration.plugins.items() if p.log_level}
    control = logging.configure(core.log.level, core.log.format, plugin_levels=levels)

    under_systemd = "NOTIFY_SOCKET" in os.environ

    async def main() -> None:
        with unwrapped(), trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def serve(task_status: trio.TaskStatus[Running]) -> None:
                    await run(prepared, task_status=task_status)
                    nursery.cancel_scope.cancel()

                running: Running = await nursery.start(serve)
                settle_memory()
                if not under_systemd:
                    greet(running)
                nursery.start_soon(_reload_on_hangup, prepared, running, control)
                await anext(signals)
                running.stop.set()
                await anext(signals)  # whoever asks twice does not want to wait
                nursery.cancel_scope.cancel()

    trio.run(main)
    return 0


def settle_memory() -> None:
    """Take what a started daemon holds for good out of the collector's sight, and let it look less often.

    A full collection stops the event loop: some 40 ms with all modules and plugins in it, 1 ms without.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _reload_on_hangup(prepared: Prepared, running: Running, control: logging.LogControl) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async for _ in hangups:
            running.notifier.reloading("reading the configuration again")
            await reload(prepared, running, control)
            running.notifier.ready("the configuration was read again")


async def reload(prepared: Prepared, running: Running, control: logging.LogControl) -> None:
    """Read the file again and change the running daemon; a wrong file changes nothing."""
    try:
        new = await trio.to_thread.run_sync(prepare, prepared.path, prepared.state_dir, os.environ)
        changes = await running.reloader.change_to(new.configuration, new.registry)
    except ConfigError as error:
        log.error("reload_refused", problems=[str(problem) for problem in error.problems])
        return
    control.set_level(new.configuration.core.log.level)
    for name, plugin in new.configuration.plugins.items():
        control.set_level(plugin.log_level, plugin=name)
    if changes.refused:
        log.warning("reload_needs_restart", settings=changes.refused)
    log.info("reloaded", applied=changes.applied)


async def run(
    prepared: Prepared,
    *,
    environ: MutableMapping[str, str] = os.environ,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the daemon until `Running.stop` is set; started when it serves."""
    core, registry = prepared.configuration.core, prepared.registry
    notifier = Notifier.from_environment(environ)
    sockets = Sockets.open(core, listen_fds(environ), notifier)
    with sockets, own_state_folder(prepared.state_dir) as state:
        state.note_config(prepared.path)
        async with (
            open_bridge() as bridge,
            trio.open_nursery() as ground,
            opened_database(bridge, core, state, ground) as (db, server),
        ):
            await migrate(db, registry, server, state)
            supervisor = Supervisor()
            async with open_machinery(bridge, db, core, state, node=node_name(core)) as machinery:
                lives = PluginLives(machinery, registry)
                lives.observe(supervisor)
                lives.services.offer("core", DATABASE_SERVER, server)
                rehearsal = DaemonRehearsal(bridge, prepared.configuration, registry, state)
                lives.services.offer("core", REHEARSAL, rehearsal)
                started_with = StartedWith(prepared.path, prepared.configuration, registry)
                lives.services.offer("core", CONFIGURATION_FILE, started_with)
                async with open_intake(core.ingest, lives) as intake, trio.open_nursery() as background:
                    health = open_health(lives, supervisor, intake.keeper)
                    benches = Benches(db, lambda: bench_targets(core, server))
                    background.start_soon(benches.run)
                    routes = core_routes(
                        own_sources(
                            prepared.configuration, sockets, lives, intake, health, supervisor, benches
                        )
                    )
                    signing_key = await machinery.vault.fingerprint("wharfd.http", "signing")
                    front = Front(core, sockets, lives, intake, health, routes, signing_key)
                    await background.start(machinery.run)
                    await background.start(watch_process, machinery, registry, notifier, environ)
                    upkeep = Upkeep(machinery, registry, months_ahead=core.daemon.partitions_ahead)
                    await background.start(upkeep.run)
                    async with trio.open_nursery() as plugins:
                        await _start_plugins(prepared, lives, supervisor, plugins)
                        await background.start(front.serve)
                        running = Running(
                            front.api_urls,
                            front.ingest_urls,
                            machinery,
                            supervisor,
                            lives,
                            Reloader(prepared.configuration, lives, supervisor, front, plugins),
                            notifier,
                        )
                        log.info("serving", api=running.api, ingest=running.ingest)
                        notifier.ready(f"serving on {' and '.join(running.api + running.ingest)}")
                        task_status.started(running)

                        await running.stop.wait()
                        notifier.stopping("finishing what was accepted")
                        log.info("stopping")
                        with trio.move_on_after(core.daemon.stop_timeout.total_seconds()) as limit:
                            await front.drain()
                            await _stop_plugins(lives, supervisor)
                        if limit.cancelled_caught:
                            log.warning("stop_cut_short", hint="raise [daemon] stop_timeout")
                        plugins.cancel_scope.cancel()
                    background.cancel_scope.cancel()
            ground.cancel_scope.cancel()
    log.info("stopped")


def initialise_and_stop(prepared: Prepared) -> int:
    """Do `initialise` and nothing else; return the exit code."""
    core = prepared.configuration.core
    logging.configure(core.log.level, core.log.format)
    with unwrapped():
        trio.run(initialise, prepared)
    return 0


async def initialise(prepared: Prepared) -> None:
    """Make what a first start would make: state folder, keys, database, tables."""
    core = prepared.configuration.core
    with own_state_folder(prepared.state_dir) as state:
        async with (
            open_bridge() as bridge,
            trio.open_nursery() as ground,
            opened_database(bridge, core, state, ground) as (db, server),
        ):
            await migrate(db, prepared.registry, server, state)
            async with open_machinery(bridge, db, core, state, node=node_name(core)):
                ground.cancel_scope.cancel()


def bench_and_stop(prepared: Prepared, plan: BenchPlan, heard: Callable[[Progress], None]) -> Report:
    """Measure on this configuration's database and return the report.

    Raises `StateFolderError` while a daemon runs on the state folder: then that one has to be asked.
    """
    logging.configure("warning", prepared.configuration.core.log.format)

    async def main() -> Report:
        with own_state_folder(prepared.state_dir) as state:
            core = prepared.configuration.core
            async with (
                open_bridge() as bridge,
                trio.open_nursery() as ground,
                opened_database(bridge, core, state, ground) as (db, server),
            ):
                if not await db.fetchval(_MIGRATED):
                    await migrate(db, prepared.registry, server, state)
                report = await carry_out(db, bench_targets(core, server), plan, heard)
                ground.cancel_scope.cancel()
        return report

    with unwrapped():
        return trio.run(main)


async def _start_plugins(
    prepared: Prepared, lives: PluginLives, supervisor: Supervisor, nursery: trio.Nursery
) -> None:
    """Start every sound plugin, those that others need first; a broken one is only listed."""
    for name in prepared.registry.order:
        plugin = prepared.registry.host.plugins[name]
        if plugin.error is not None:
            log.error("plugin_broken", plugin=name, reason=plugin.error)
            supervisor.add_broken(name, plugin.origin, plugin.error)
            continue
        life = lives.of(name, prepared.configuration)
        await nursery.start(supervisor.add(life).supervise)


async def _stop_plugins(lives: PluginLives, supervisor: Supervisor) -> None:
    """Stop the plugins in reverse order, each after its work is finished or handed back."""
    for name in reversed(list(supervisor.plugins)):
        await lives.drain(name)
        await supervisor.stop(name)


def greet(running: Running) -> None:
    """Tell the person at the terminal where to go next."""
    token = running.machinery.state.admin_token
    lines = [
        "",
        f"wharfd serves   API {running.api[0]}   ingest {running.ingest[0]}",
        f"admin token     {token}",
        f'try             curl -H "Authorization: Bearer $(cat {token})" {running.api[0]}/api/v1/status',
        f"description     {running.api[0]}/docs",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
