"""The overview: is it well, what needs a hand, and how the last minutes went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wharfd import Request
from wharfd.contracts.charts import Series, chart, sparkline
from wharfd.contracts.html import (
    Html,
    Tone,
    address,
    badge,
    card,
    duration,
    empty,
    figure,
    grid,
    join,
    link,
    meter,
    number,
    percent,
    size,
    tag,
    tone_of,
)

from ..parts import Context
from ..sampling import Sample, Sampler, Survey

_SLOW_ANSWER_SECONDS = 0.010
_LATE_BACKLOG = 100
_MOST_USED = 0.8


async def render(ctx: Context, request: Request) -> Html:
    """Show the panels as they are now; the browser then follows them live."""
    return join(tag("div", panel, id=f"panel-{name}") for name, panel in panels(ctx.state["sampler"]).items())


def panels(sampler: Sampler) -> dict[str, Html]:
    """Return the parts of the overview by name, each ready to take the place of its older self."""
    samples, survey = list(sampler.samples), sampler.survey
    span = duration(len(samples) * sampler.every)
    return {
        "health": _health(survey),
        "attention": _attention(survey),
        "figures": _figures(samples, survey, sampler),
        "charts": _charts(samples, span),
        "parts": grid(_plugins(survey), _queues(survey), wide=True),
    }


def _health(survey: Survey) -> Html:
    status = survey.status
    if not status:
        reason = survey.missing.get("status", "the first look around is under way")
        return tag("div", badge("unknown", "warn"), tag("p", reason), class_="health warn")
    words = {
        "ok": "Everything is running",
        "degraded": "Running, with something to look at",
        "down": "Not ready for traffic",
        "stopping": "Stopping",
    }
    facts = (
        ("node", status["node"]),
        ("version", status["version"]),
        ("up", duration(status["uptime_seconds"])),
        ("memory", size(survey.performance.get("system", {}).get("memoryBytes"))),
    )
    return tag(
        "div",
        tag("span", class_="lamp", aria_hidden="true"),
        tag("p", words.get(status["status"], status["status"])),
        tag("ul", *(tag("li", f"{name} ", tag("b", value)) for name, value in facts)),
        class_=f"health {tone_of(status['status'])}",
    )


def _values(samples: Iterable[Sample], name: str) -> list[float | None]:
    return [getattr(sample, name) for sample in samples]


def _figures(samples: Sequence[Sample], survey: Survey, sampler: Sampler) -> Html:
    now = samples[-1]
    slowest = next((s.answer_p99 for s in reversed(samples) if s.answer_p99 is not None), None)
    times = survey.performance.get("acceptanceTimes", {})
    failed = sum(rate for rate in _values(samples, "errors") if rate is not None) * sampler.every
    backlog, buried = survey.backlog, survey.buried

    def spark(name: str, colour: int) -> Html:
        return sparkline(_values(samples, name), name.replace("_", " "), colour)

    return grid(
        figure(
            "Accepted per s",
            number(_rounded(now.accepted)),
            f"{number(sampler.accepted)} since the start",
            drawing=spark("accepted", 1),
        ),
        figure(
            "Answer to providers, p99",
            duration(slowest),
            f"p99 since the start {duration(_of_ms(times.get('p99Ms')))}",
            _bad_if(slowest is not None and slowest > _SLOW_ANSWER_SECONDS, "warn"),
            drawing=spark("answer_p99", 2),
        ),
        figure(
            "Work that is due",
            number(backlog),
            join((number(buried), " given up")) if buried else "nothing given up",
            _bad_if(bool(backlog and backlog > _LATE_BACKLOG), "warn"),
            drawing=spark("backlog", 3),
        ),
        figure(
            "Failed answers",
            number(round(failed)),
            "5xx in this window",
            _bad_if(failed >= 1, "bad"),
            drawing=spark("errors", 4),
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _of_ms(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _bad_if(condition: bool, tone: Tone) -> Tone:
    return tone if condition else "plain"


def _charts(samples: Sequence[Sample], span: str) -> Html:
    def series(*names: tuple[str, str, int]) -> list[Series]:
        return [Series(title, _values(samples, name), colour) for name, title, colour in names]

    def draw(
        key: str,
        title: str,
        lines: Sequence[Series],
        show: Callable[[float], str] = _rate,
        kind: str = "area",
        ceiling: float | None = None,
    ) -> Html:
        return chart(key, title, lines, show=show, span=span, kind=kind, ceiling=ceiling)

    return grid(
        draw(
            "chart-accepted",
            "Webhooks per second",
            series(("accepted", "accepted", 1), ("refused", "refused", 4)),
        ),
        draw(
            "chart-answers",
            "Answer time to providers",
            series(("answer_p50", "p50", 1), ("answer_p99", "p99", 2)),
            duration,
            "line",
        ),
        draw(
            "chart-backlog", "Work", series(("backlog", "due", 3), ("buried", "given up", 4)), number, "line"
        ),
        draw(
            "chart-deliveries",
            "Deliveries per second",
            series(("delivered", "delivered", 1), ("undelivered", "failed", 4)),
        ),
        draw(
            "chart-requests",
            "API requests per second",
            series(("requests", "answered", 1), ("errors", "failed", 4)),
        ),
        draw(
            "chart-shares",
            "Pool in use, cache hits",
            series(("pool", "pool", 2), ("cache", "hits", 3)),
            percent,
            "line",
            1.0,
        ),
        draw(
            "chart-requests-time",
            "API answer time",
            series(("request_p50", "p50", 1), ("request_p99", "p99", 2)),
            duration,
            "line",
        ),
        draw("chart-lag", "Event loop lag", series(("lag", "lag", 2)), duration),
        draw("chart-memory", "Memory", series(("memory", "resident", 2)), _megabytes),
        wide=True,
    )


def _rate(value: float) -> str:
    return number(round(value, 1) if value < 100 else round(value))


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _attention(survey: Survey) -> Html:
    rows = [tag("li", badge(state), tag("span", words)) for state, words in _troubles(survey)]
    if not rows:
        return Html("")
    return card("Needs attention", tag("ul", *rows, class_="attention"))


def _troubles(survey: Survey) -> Iterable[tuple[str, object]]:
    for alert in survey.performance.get("alerts", ()):
        if not alert["silenced"] and not alert["acknowledged_at"]:
            yield alert["severity"], link(alert["message"], "/console/alerts")
    for what, reason in survey.missing.items():
        yield "warning", f"{what}: {reason}"
    for sentence in survey.status.get("troubles", ()):
        yield "degraded", sentence
    for one in survey.status.get("plugins", ()):
        if one["state"] != "running":
            why = f": {one['last_error']}" if one["last_error"] else ""
            yield one["state"], link(f"plugin {one['name']}{why}", "/console/plugins")
    for one in survey.queues:
        if one["buried"]:
            rows = "row" if one["buried"] == 1 else "rows"
            words = f"{one['name']} gave up {number(one['buried'])} {rows}"
            yield "buried", link(words, address("/console/work", queue=one["name"]))
        if one["state"] == "paused":
            yield "paused", link(f"{one['name']} is paused", "/console/work")
    for one in survey.schedules:
        if one["last_outcome"] in ("failed", "lost") and one["absent_since"] is None:
            why = f": {one['last_error']}" if one["last_error"] else ""
            target = address("/console/schedules", name=one["name"])
            yield "failed", link(f"schedule {one['name']}{why}", target)


def _plugins(survey: Survey) -> Html:
    rows = [
        tag(
            "li",
            tag("span", one["name"]),
            badge(one["state"]),
            tag("span", duration(one["since_seconds"]), class_="soft"),
        )
        for one in survey.status.get("plugins", ())
    ]
    return card(
        "Plugins",
        tag("ul", *rows, class_="rows"),
        actions=link("All", "/console/plugins", class_="button quiet"),
    )


def _queues(survey: Survey) -> Html:
    busy = sorted(survey.queues, key=lambda one: (-one["due"], -one["done_per_minute"], one["name"]))[:8]
    rows = [
        tag(
            "li",
            tag("span", one["name"]),
            tag("span", f"{number(one['due'])} due", class_="soft"),
            tag("span", f"{number(round(one['done_per_minute'], 1))} done/min", class_="soft"),
        )
        for one in busy
    ]
    used = Html("")
    if survey.pool is not None:
        bar = meter(survey.pool, f"pool {percent(survey.pool)} in use")
        used = tag("div", tag("span", "database pool"), bar, class_="gauge")
    return card(
        "Busiest queues",
        tag("ul", *rows, class_="rows") if rows else empty("No queues are declared"),
        used,
        actions=link("All", "/console/work", class_="button quiet"),
    )
