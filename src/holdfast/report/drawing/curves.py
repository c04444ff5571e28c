"""Harmful score and fine-tune accuracy over every axis of numbers.

Three values or more are a curve. Two are not: every variant is a line of its own, with a dot at the
first value and its mark at the second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from holdfast.report.drawing.canvas import Picture, plain, settings, size
from holdfast.report.drawing.looks import FAINT, FAMILIES, INK, Look, by_family, line_name, looks
from holdfast.report.drawing.marks import Point, draw_points, exact, shifted, told
from holdfast.report.drawing.panels import TEXT, Panel, Scale, Setting, compose, percents, span
from holdfast.report.metrics import MAIN, known_metric
from holdfast.report.rows import Comparison, Row
from holdfast.report.sheet import settings_words
from holdfast.report.words import axis_name, place_name, short
from holdfast.statistics.estimates import Estimate

METRICS = MAIN[:2]
_LOG_FROM = 10  # an axis whose largest value is so many times its smallest is logarithmic
_MOST_LINES = 12  # more in one panel cannot be told apart
_LINE = 13  # pixels between two names
_NAME = 30  # characters of a name


@dataclass(frozen=True)
class Curves:
    """One axis at one place of all others that every variant has.

    Args:
        axis: The axis.
        place: The other axes that all variants have, with their values.
        lines: By its name, the rows of a line in the axis's order.
        levels: By its name, a row of a variant that does not have the axis.
    """

    axis: str
    place: dict[str, Any]
    lines: dict[str, list[Row]]
    levels: dict[str, Row]

    @property
    def values(self) -> list[float]:
        """The axis's values, in order."""
        return sorted({row.axes[self.axis] for rows in self.lines.values() for row in rows})

    @property
    def metrics(self) -> list[str]:
        """Those of `METRICS` that there is something to draw of."""
        rows = [row for own in self.lines.values() for row in own]
        return [metric for metric in METRICS if any(metric in row.cells for row in rows)]


def curves(comparison: Comparison) -> list[Curves]:
    """All that a comparison has: axes with two numbers or more."""
    found = []
    for axis in comparison.axes:
        if len({row.axes[axis] for row in comparison.rows if _is_number(row.axes.get(axis))}) < 2:
            continue
        places: dict[str, tuple[dict[str, Any], list[Row]]] = {}
        for row in comparison.rows:
            rest = {a: row.axes[a] for a in comparison.shared if a != axis and a in row.axes}
            places.setdefault(repr(rest), (rest, []))[1].append(row)
        for rest, rows in places.values():
            made = _curves(axis, rest, rows, comparison.shared)
            if made.metrics and any(len(own) > 1 for own in made.lines.values()):
                found.append(made)
    return found


def _curves(axis: str, rest: Mapping[str, Any], rows: Sequence[Row], shared: list[str]) -> Curves:
    lines: dict[str, list[Row]] = {}
    levels: dict[str, Row] = {}
    for row in rows:
        name = line_name(row, shared, but=axis)
        if _is_number(row.axes.get(axis)):
            lines.setdefault(name, []).append(row)
        elif axis not in shared and axis not in row.axes:
            levels[name] = row
    lines = {name: sorted(own, key=lambda row: row.axes[axis]) for name, own in lines.items()}
    return Curves(axis, dict(rest), lines, levels)


@settings()
def metric_pictures(comparison: Comparison, one: Curves, width: float) -> list[Picture]:
    """A picture of each metric, or of each metric and stage of many variants, of a width."""
    return [
        compose([panel], Setting(1, width, _height(one)), _label(one, metric))
        for metric in one.metrics
        for panel in _panels(comparison, one, metric)
    ]


@settings()
def curves_picture(comparison: Comparison, one: Curves, subheading: str) -> Picture:
    """All metrics in one picture, for a paper; ``subheading`` stands below the title."""
    by_metric = [_panels(comparison, one, metric) for metric in one.metrics]
    panels = [panel for line in zip(*by_metric, strict=True) for panel in line]
    where = f" at {settings_words(one.place)}" if one.place else ""
    heading = f"Over the {axis_name(one.axis)}{where}"
    columns = len(one.metrics)
    setting = Setting(columns, 430 * columns, _height(one), heading, subheading)
    return compose(panels, setting, heading)


def _height(one: Curves) -> float:
    return 240 if len(one.values) > 2 else max(60, 24 * (len(one.lines) + len(one.levels)))


def _panels(comparison: Comparison, one: Curves, metric: str) -> list[Panel]:
    chosen = _looks(comparison, one)
    if len(one.values) == 2:
        return [_pairs(one, metric, chosen)]
    names = [*one.lines, *one.levels]
    if len(names) <= _MOST_LINES:
        return [_lines(one, metric, chosen, names, "")]
    families = by_family({name: chosen[name] for name in names}) or {"none": names}
    none = [name for name in names if chosen[name].family == "none" and "none" not in families]
    return [
        _lines(one, metric, chosen, [*none, *own[i : i + _MOST_LINES]], FAMILIES[family])
        for family, own in families.items()
        for i in range(0, len(own), _MOST_LINES)
    ]


def _label(one: Curves, metric: str) -> str:
    """What a picture shows, for those who do not see it."""
    where = f", {place_name(one.place)}" if one.place else ""
    words = f"{known_metric(metric).words} over {axis_name(one.axis)}{where}"
    return f"{words}: the numbers are in the table below."


def _looks(comparison: Comparison, one: Curves) -> dict[str, Look]:
    """The look of each line: that of its first row in every other picture."""
    chosen = looks(comparison)
    first = {name: rows[0] for name, rows in one.lines.items()} | one.levels
    return {name: chosen[line_name(row, comparison.shared)] for name, row in first.items()}


def _lines(
    one: Curves, metric: str, chosen: Mapping[str, Look], names: Sequence[str], family: str
) -> Panel:
    values = one.values
    log = values[0] > 0 and values[-1] / values[0] >= _LOG_FROM
    # Room for the marks that stand beside each other at the first and last value.
    room = (values[-1] / values[0]) ** 0.12 if log else 0.12 * (values[-1] - values[0])
    ends = (values[0] / room, values[-1] * room) if log else (values[0] - room, values[-1] + room)
    x = Scale(axis_name(one.axis), *ends, {v: short(v) for v in values}, log)
    rows = [row for own in one.lines.values() for row in own] + [*one.levels.values()]
    known = known_metric(metric)
    title = " · ".join(filter(None, (f"{known.heading}: {known.words} (%)", family)))
    own = {name: [r for r in one.lines.get(name, []) if metric in r.cells] for name in names}
    own = {name: found for name, found in own.items() if found}
    levels = {n: one.levels[n] for n in names if n in one.levels and metric in one.levels[n].cells}

    def draw(picture: Picture, axes: Axes) -> None:
        for name, found in one.lines.items():
            if name not in names:
                _context(axes, [row for row in found if metric in row.cells], one.axis, metric)
        last = []
        order = sorted(own, key=lambda name: -_worse(own[name][-1], metric))
        for number, name in enumerate(order):
            aside = (number - (len(order) - 1) / 2) * min(4.0, 28 / len(order))
            look = chosen[name]
            points = [_point(row, exact(row.axes[one.axis]), metric, look) for row in own[name]]
            place = [point.x.value for point in points], [point.y.value for point in points]
            style: dict[str, Any] = {"color": look.ink, "linewidth": 1.5}
            axes.plot(*place, transform=shifted(axes, aside), zorder=1.5 + number / 100, **style)
            draw_points(picture, axes, points, 7, aside)
            last.append((name, shifted(axes, aside).transform((place[0][-1], place[1][-1]))))
        for name, row in levels.items():
            mean, look = row.cells[metric].mean, chosen[name]
            axes.axhline(
                mean.value, color=look.ink, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1.4
            )
            draw_points(picture, axes, [_point(row, exact(x.high), metric, look)], 7)
            last.append((name, axes.transData.transform((x.high, mean.value))))
        _name_ends(axes, last, chosen)

    right = 24 + _widest([*one.lines, *one.levels])
    return Panel(title, x, _metric_scale(rows, metric), draw, 40, right)


def _pairs(one: Curves, metric: str, chosen: Mapping[str, Look]) -> Panel:
    """Every variant a line: a dot at the first value, its mark at the second."""
    first, second = one.values
    best = one.metrics[0]
    named = {**one.lines, **{name: [row] for name, row in one.levels.items()}}
    named = {n: [r for r in rows if metric in r.cells] for n, rows in named.items()}
    named = {name: rows for name, rows in named.items() if rows}
    order = sorted(named, key=lambda name: _worse(named[name][-1], best))
    known = known_metric(metric)

    def draw(picture: Picture, axes: Axes) -> None:
        for at, name in enumerate(order):
            rows, look = named[name], chosen[name]
            means = [row.cells[metric].mean for row in rows]
            if len(means) == 2:
                style: dict[str, Any] = {"color": look.ink, "linewidth": 1, "alpha": 0.6}
                between = [mean.value for mean in means]
                axes.plot(between, [at - 0.16, at + 0.16], linestyle=":", zorder=1.5, **style)
            for row, mean in zip(rows, means, strict=True):
                early = row.axes.get(one.axis) == first
                dot = Look(look.family, look.color, "o")
                beside = 0 if len(means) < 2 else -0.16 if early else 0.16
                own = dot if early else look
                point = Point(mean, exact(at + beside), own, told(row, (metric,)))
                draw_points(picture, axes, [point], 4.5 if early else 8)

    title = f"{known.heading}: {known.words} (%)"
    told_apart = f"dot: {short(first)}, mark: {short(second)}"
    x = percents(told_apart, *_bounds(named, metric))
    ticks = {float(i): plain(name, _NAME) for i, name in enumerate(order)}
    y = Scale("", len(order) - 0.5, -0.5, ticks, grid=False)
    return Panel(title, x, y, draw, 16 + _widest(order), 14)


def _widest(names: Sequence[str]) -> float:
    """Pixels that the longest of the names takes."""
    return max((size(plain(name, _NAME), TEXT)[0] for name in names), default=0.0)


def _bounds(named: Mapping[str, Sequence[Row]], metric: str) -> tuple[float, float]:
    means = [row.cells[metric].mean for rows in named.values() for row in rows]
    if metric != METRICS[1]:
        return 0.0, 100.0
    return span([v for mean in means for v in (mean.low, mean.high)], 20, (0.0, 100.0))


def _metric_scale(rows: Sequence[Row], metric: str) -> Scale:
    return percents("", *_bounds({"": [row for row in rows if metric in row.cells]}, metric))


def _point(row: Row, x: Estimate, metric: str, look: Look) -> Point:
    return Point(x, row.cells[metric].mean, look, told(row, (metric,)))


def _worse(row: Row, metric: str) -> float:
    """Larger the worse the row is: what is drawn first, or named last."""
    if metric not in row.cells:
        return 0.0
    value = row.cells[metric].mean.value
    return -value if known_metric(metric).better == "higher" else value


def _context(axes: Axes, rows: Sequence[Row], axis: str, metric: str) -> None:
    place = [row.axes[axis] for row in rows], [row.cells[metric].mean.value for row in rows]
    axes.plot(*place, color=FAINT, linewidth=1, zorder=1)


def _name_ends(
    axes: Axes, ends: Sequence[tuple[str, np.ndarray]], chosen: Mapping[str, Look]
) -> None:
    """Write the names beside the ends of the lines [pixels], one below the other."""
    box = axes.get_window_extent()
    found = sorted(ends, key=lambda end: -end[1][1])
    heights = _spread([at[1] for _, at in found], box.y0)
    for (name, at), height in zip(found, heights, strict=True):
        places = [at, (box.x1 + 16, height), (box.x1 + 20, height)]
        x, y = axes.transData.inverted().transform(places).T
        style: dict[str, Any] = {"color": chosen[name].ink, "linewidth": 0.8, "alpha": 0.7}
        axes.plot(x[:2], y[:2], zorder=1, **style)
        words: dict[str, Any] = {"fontsize": TEXT, "color": INK, "va": "center_baseline"}
        axes.text(x[2], y[2], plain(name, _NAME), **words)


def _spread(heights: Sequence[float], low: float) -> list[float]:
    """Heights, given from above to below, moved as little as leaves a line's room between two."""
    found = list(heights)
    for i in range(1, len(found)):
        found[i] = min(found[i], found[i - 1] - _LINE)
    for i in reversed(range(len(found))):  # those that fell out at the bottom go up again
        floor = low + _LINE / 2 if i == len(found) - 1 else found[i + 1] + _LINE
        found[i] = max(found[i], floor)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
