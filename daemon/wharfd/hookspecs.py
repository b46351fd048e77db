"""Every hook a plugin can implement, with its contract.

Declaration hooks are plain functions, called once before anything runs; they do no I/O and return frozen
values from `wharfd.declare`. Lifecycle hooks are async and run in the plugin's own nursery. Observers hear
of things and cannot change them. A hook is called for one plugin at a time: what it raises is that plugin's
trouble alone. A plugin implements only the hooks it needs and takes only the arguments it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import trio

    from .context import PluginContext
    from .declare import (
        AlertRule,
        Command,
        ConsolePage,
        EventType,
        HealthCheck,
        Importer,
        IngestRoute,
        JobKind,
        Metric,
        Migrations,
        Provides,
        Requires,
        RetentionRule,
        Route,
        Schedule,
        Subscription,
        WorkQueue,
    )

hookspec = pluggy.HookspecMarker("wharfd")
hookimpl = pluggy.HookimplMarker("wharfd")


# -- declaration hooks, in the order they are called ---------------------------------------------------


@hookspec(firstresult=True)
def register_hookspecs() -> Any:
    """Add extension points of your own, for other plugins to implement.

    Called: first of all, once.
    May: return a module or class whose functions are marked with `wharfd.hookspec`.
    Must not: import other plugins.
    Returns: the object holding the specs, or None. Call them with `ctx.hooks.call("name", **arguments)`.
    Example: the webhooks plugin adds `before_delivery(ctx, delivery)`.
    """


@hookspec(firstresult=True)
def register_settings() -> type[Any] | None:
    """Say what may stand in `[plugins.<name>]`.

    Called: once, before the configuration is read into types.
    May: return a frozen dataclass whose fields are made with `wharfd.option`; a method `remarks()` of it
    returns sentences for `wharfd check` about what is allowed and perhaps not meant.
    Must not: read the environment or files; the core resolves `{env=…}`, `{file=…}`, `{credential=…}`.
    Returns: the class; an instance arrives as `settings` in later hooks and as `ctx.settings`.
    Example: `return Settings`
    """


@hookspec(firstresult=True)
def register_commands(settings: Any) -> Sequence[Command] | None:
    """Add commands to the `wharfd` CLI.

    Called: by the CLI, without a running daemon in the same process.
    May: return several groups.
    Must not: open connections; `run(arguments, client)` gets a client of the running daemon.
    Returns: a sequence of `Command`.
    Example: `return [Command(name="orders", summary="…", configure=_add, run=_run)]`
    """


@hookspec(firstresult=True)
def register_services(settings: Any) -> Sequence[Provides | Requires] | None:
    """Offer services to other plugins, or say which you need.

    Called: once; the answers of all plugins decide the start order.
    May: mark a need `optional=True`.
    Must not: import the plugin that provides it; the key lives in `wharfd.contracts`.
    Returns: a sequence of `Provides` and `Requires`.
    Example: `return [Provides(AUTHENTICATOR, make_authenticator)]`
    """


@hookspec(firstresult=True)
def register_migrations() -> Migrations | None:
    """Say where the plugin's SQL migrations lie.

    Called: once, before the database is opened.
    May: name partitioned tables and tables nobody may delete from.
    Must not: touch another plugin's schema.
    Returns: `Migrations(__package__)`.
    Example: `return Migrations(__package__, partitioned=("netbanx.events",))`
    """


@hookspec(firstresult=True)
def register_routes(settings: Any) -> Sequence[Route] | None:
    """Add endpoints to the API.

    Called: once, before the listeners open.
    May: leave out routes that its settings switch off.
    Must not: declare a path that another plugin has; both are named and the start is refused.
    Returns: a sequence of `Route`.
    Example: `return [Route(method="GET", path="/api/v1/hello", handler=hello, scope="hello:read")]`
    """


@hookspec(firstresult=True)
def register_ingest(settings: Any) -> Sequence[IngestRoute] | None:
    """Add paths on which providers post webhooks, on the public listener and on the API.

    Called: once, before the listeners open.
    May: declare one route per configured source.
    Must not: do I/O in `admit`; it runs on the hot path.
    Returns: a sequence of `IngestRoute`.
    Example: `return [source.route() for source in settings.sources.values()]`
    """


@hookspec(firstresult=True)
def register_work(settings: Any) -> Sequence[WorkQueue | JobKind] | None:
    """Name the tables whose rows are work, and the kinds of one-off jobs.

    Called: once; the queues run while the plugin runs.
    May: take concurrency and retry policy from its settings.
    Must not: work rows by itself; the engine claims, leases, retries and buries.
    Returns: a sequence of `WorkQueue` and `JobKind`.
    Example: `return [WorkQueue(name="events", table="netbanx.events", row=EventRow, handler=process)]`
    """


@hookspec(firstresult=True)
def register_schedules(settings: Any) -> Sequence[Schedule] | None:
    """Add things done again and again.

    Called: once; schedules are kept in the database and fire on one daemon at a time.
    May: take times from its settings.
    Must not: sleep in a loop instead.
    Returns: a sequence of `Schedule`.
    Example: `return [Schedule(name="nightly", cron="0 2 * * *", handler=run_nightly)]`
    """


@hookspec(firstresult=True)
def register_subscriptions(settings: Any) -> Sequence[Subscription | EventType] | None:
    """Hear events of other plugins, and list the event types this one publishes.

    Called: once; from then on every published event leaves an inbox row for each subscription that matches.
    May: use patterns such as `payment.*`.
    Must not: count on hearing an event exactly once unless the subscription is transactional.
    Returns: a sequence of `Subscription` and `EventType`.
    Example: `return [Subscription(PaymentReceived, on_payment), EventType(OrderCompleted)]`
    """


@hookspec(firstresult=True)
def register_health_checks(settings: Any) -> Sequence[HealthCheck] | None:
    """Add checks to `/health/ready`.

    Called: once; each check runs when health is asked for, with its own timeout.
    May: mark a check critical.
    Must not: write anything.
    Returns: a sequence of `HealthCheck`.
    Example: `return [HealthCheck(name="provider", check=provider_reachable)]`
    """


@hookspec(firstresult=True)
def register_metrics(settings: Any) -> Sequence[Metric] | None:
    """Name the plugin's Prometheus metrics.

    Called: once; `ctx.metrics` then holds them by name.
    May: use labels with few, known values.
    Must not: use ids, URLs or owners as labels.
    Returns: a sequence of `Metric`.
    Example: `return [Metric("counter", "accepted_total", "Webhooks accepted.", ("source",))]`
    """


@hookspec(firstresult=True)
def register_alerts(settings: Any) -> Sequence[AlertRule] | None:
    """Add things an operator should be told about.

    Called: once; the alerts plugin runs the checks, dedups and tells.
    May: be declared whether or not the alerts plugin is enabled.
    Must not: send anything by itself.
    Returns: a sequence of `AlertRule`.
    Example: `return [AlertRule(name="backlog", summary="Webhooks wait", check=find_backlog)]`
    """


@hookspec(firstresult=True)
def register_retention(settings: Any) -> Sequence[RetentionRule] | None:
    """Say how long rows are kept.

    Called: once; the retention plugin archives and deletes, nothing else does.
    May: be overridden by the operator in TOML.
    Must not: delete by itself.
    Returns: a sequence of `RetentionRule`.
    Example: `return [RetentionRule(name="events", table="netbanx.events", column="received_at", keep=d)]`
    """


@hookspec(firstresult=True)
def register_console(settings: Any) -> Sequence[ConsolePage] | None:
    """Add pages to the console.

    Called: once; used when the console plugin is enabled.
    May: use any route of its own for live data.
    Must not: load anything from another host; the console's policy refuses it.
    Returns: a sequence of `ConsolePage`.
    Example: `return [ConsolePage(path="hello", title="Hello", render=render_hello)]`
    """


@hookspec(firstresult=True)
def register_importers(settings: Any) -> Sequence[Importer] | None:
    """Say which tables of old systems this plugin takes over, and how.

    Called: once; used by `wharfd import` alone, in a process where no plugin runs.
    May: declare several importers for tables of one name; the columns tell which fits.
    Must not: do I/O in `convert`; it is called twice for every row.
    Returns: a sequence of `Importer`.
    Example: `return importing.IMPORTERS`
    """


# -- lifecycle hooks -------------------------------------------------------------------------------------


@hookspec(firstresult=True)
async def provision(ctx: PluginContext[Any]) -> None:
    """Get ready: look at the database, warm a cache, check a key.

    Called: after migrations, in dependency order, and again after a crash.
    May: use everything on `ctx`; raise `NotReady(reason)` when something it needs is not there yet.
    Must not: run for ever; it has `start_timeout` seconds.
    Returns: nothing.
    Example: `ctx.log.info("provisioned", sources=len(ctx.settings.sources))`
    """


@hookspec(firstresult=True)
async def run(ctx: PluginContext[Any], task_status: trio.TaskStatus[None]) -> None:
    """Do what must go on all the time and fits no queue, schedule or route.

    Called: after `provision`; call `task_status.started()` when really serving.
    May: start tasks in `ctx.nursery`.
    Must not: return while there is still something to do; returning ends it for good.
    Returns: nothing; it ends when it is cancelled.
    Example: `task_status.started(); await trio.sleep_forever()`
    """


@hookspec(firstresult=True)
async def cleanup(ctx: PluginContext[Any]) -> None:
    """Give back what `provision` took.

    Called: after `run` ended, and also after a `provision` that failed half-way; shielded from cancellation.
    May: be called twice.
    Must not: count on `provision` having finished.
    Returns: nothing.
    Example: `if provider := ctx.state.pop("provider", None): await provider.aclose()`
    """


@hookspec(firstresult=True)
async def guard_migration(settings: Any, server: Any, state_dir: Path, pending: Sequence[str]) -> None:
    """Make sure that a change of tables can be taken back: a backup first.

    Called: at start, when migrations are pending on a database that is not new, before the first of them.
    May: take as long as it needs, and raise, which leaves the database as it is and ends the start.
    Must not: use anything but `server` (`contracts.database.DatabaseServer`) and its own folder `state_dir`;
    no plugin runs yet.
    Returns: nothing.
    Example: `await take_backup(settings, server, reason=f"before {pending[0]}")`
    """


# -- observers -------------------------------------------------------------------------------------------


@hookspec
def observe_work_buried(ctx: PluginContext[Any], queue: str, key: str, reason: str) -> None:
    """Hear that a piece of this plugin's work was given up; `queue` is `plugin.queue`.

    Called: after the row was marked buried.
    May: log, count, alert.
    Must not: be async, or raise; what it raises is logged and dropped.
    Returns: nothing.
    Example: `ctx.metrics["buried_total"].labels(queue).inc()`
    """


@hookspec
def observe_plugin_state(ctx: PluginContext[Any], plugin: str, old: str, new: str) -> None:
    """Hear that some plugin changed state: starting, running, restarting, quarantined, failed, stopped.

    Called: on every running plugin; one that starts hears of those that are quarantined or failed already.
    May: log, count, alert.
    Must not: be async, or raise; what it raises is logged and dropped.
    Returns: nothing.
    Example: `ctx.log.info("neighbour_changed", plugin=plugin, state=new)`
    """
