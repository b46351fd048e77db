"""Charts for console pages, drawn as SVG on the server: lines, areas, bars and sparklines.

The drawing stretches with its box, the words around it are HTML and keep their size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .html import Html, join, number, tag

WIDTH, HEIGHT = 600.0, 160.0
_STEPS = (1.0, 2.0, 4.0, 5.0, 10.0)

Values = Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """One line of a chart: its name, a value per moment (None: not known), and which colour it takes, 1–4."""

    name: str
    values: Values
    colour: int = 1


def chart(
    key: str,
    title: str,
    series: Sequence[Series],
    *,
    show: Callable[[float], str] = number,
    span: str = "",
    kind: str = "area",
    ceiling: float | None = None,
    names: Sequence[str] = (),
) -> Html:
    """Return a chart with axes, legend and the latest values. `key` is unique on the page.

    `span` says how far back the left edge lies, such as "10 min"; `kind` is area, line or bar. The scale
    begins at 0 and ends at a round number, or at `ceiling`. With `names`, one for each value, the values are
    no course of time: each name stands under its bar.
    """
    known = [value for one in series for value in one.values if value is not None]
    top = ceiling if ceiling is not None else round_up(max(known, default=0.0))
    told = _described(series, known, show, names)
    drawing = tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", told, id=f"{key}-desc"),
        *(_level(HEIGHT * share) for share in (0.0, 0.5, 1.0)),
        *(_draw(one, top, kind) for one in reversed(series)),  # the first one on top
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )
    ticks = tag(
        "div", *(tag("span", show(top * s)) for s in (1.0, 0.5, 0.0)), class_="ticks", aria_hidden="true"
    )
    below = names or (span and f"−{span}", "now")
    times = tag(
        "div",
        *(tag("span", name) for name in below),
        class_="times names" if names else "times",
        aria_hidden="true",
    )
    legend = tag(
        "ul",
        *(
            tag(
                "li",
                tag("i", class_=f"key c{one.colour}"),
                f"{one.name} ",
                "" if names else tag("b", _latest(one, show)),
            )
            for one in series
        ),
        class_="legend",
    )
    values = json.dumps([[one.name, [None if v is None else show(v) for v in one.values]] for one in series])
    box = tag("div", ticks, tag("div", drawing, class_="canvas", data_values=values), times, class_="plot")
    hint = "" if known else tag("p", "No values yet", class_="waiting")
    return tag("figure", tag("figcaption", tag("h3", title), legend), box, hint, class_="chart", id=key)


def sparkline(values: Values, label: str, colour: int = 1) -> Html:
    """Return the course of a number as a small line without axes."""
    known = [value for value in values if value is not None]
    top = max(known, default=0.0) or 1.0
    return tag(
        "svg",
        tag("title", label),
        _draw(Series(label, values, colour), top, "area"),
        class_="spark",
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def round_up(value: float) -> float:
    """Return the next round number, at which a scale can end."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in _STEPS if step * power >= value * (1 - 1e-9)), 10 * power)


def _described(
    series: Sequence[Series], known: Sequence[float], show: Callable[[float], str], names: Sequence[str]
) -> str:
    """What the drawing shows, for whoever does not see it."""
    if not known:
        return "no values yet"
    if names:
        pairs = ((name, value) for one in series for name, value in zip(names, one.values, strict=True))
        return ", ".join(f"{name}: {'–' if value is None else show(value)}" for name, value in pairs)
    last = ", ".join(f"{one.name} {_latest(one, show)}" for one in series)
    return f"now: {last}; highest {show(max(known))}"


def _latest(one: Series, show: Callable[[float], str]) -> str:
    value = one.values[-1] if one.values else None
    return "–" if value is None else show(value)


def _level(y: float) -> Html:
    return tag("line", x1="0", x2=f"{WIDTH:.0f}", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="level")


def _draw(one: Series, top: float, kind: str) -> Html:
    colour = f"c{one.colour}"
    if kind == "bar":
        return tag("path", d=_bars(one.values, top), class_=f"bar {colour}")
    runs = _runs(one.values, top)
    lines = " ".join("M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in run) for run in runs if len(run) > 1)
    points = " ".join(f"M{run[0][0]:.1f},{run[0][1]:.1f} h0" for run in runs if len(run) == 1)
    line = join(
        (
            tag("path", d=lines, class_=f"line {colour}") if lines else "",
            tag("path", d=points, class_=f"line point {colour}") if points else "",
        )
    )
    if kind != "area" or not lines:
        return line
    areas = " ".join(
        f"M{run[0][0]:.1f},{HEIGHT:.0f} L"
        + " L".join(f"{x:.1f},{y:.1f}" for x, y in run)
        + f" L{run[-1][0]:.1f},{HEIGHT:.0f} Z"
        for run in runs
        if len(run) > 1
    )
    return join((tag("path", d=areas, class_=f"area {colour}"), line))


def _runs(values: Values, top: float) -> list[list[tuple[float, float]]]:
    """The points that belong together; a value that is not known ends a run."""
    step = WIDTH / max(len(values) - 1, 1)
    runs: list[list[tuple[float, float]]] = []
    broken = True
    for position, value in enumerate(values):
        if value is None:
            broken = True
            continue
        if broken:
            runs.append([])
        broken = False
        runs[-1].append((position * step, _height(value, top)))
    return runs


def _bars(values: Values, top: float) -> str:
    step = WIDTH / max(len(values), 1)
    return " ".join(
        f"M{position * step + step * 0.1:.1f},{HEIGHT:.0f} V{_height(value, top):.1f} "
        f"h{step * 0.8:.1f} V{HEIGHT:.0f} Z"
        for position, value in enumerate(values)
        if value is not None
    )


def _height(value: float, top: float) -> float:
    return HEIGHT * (1 - min(max(value / top, 0.0), 1.0))
