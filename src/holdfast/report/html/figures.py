"""A comparison in pictures: harmful score against accuracy, and curves over every swept axis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from holdfast.report.comparison import Cell, Comparison, Row
from holdfast.report.html.svg import (
    Point,
    Series,
    Value,
    chart,
    horizontal,
    key,
    span,
    vertical,
)
from holdfast.report.metrics import known_metric
from holdfast.report.words import axis_name, interval, number, place_name, short

X, Y = "harmful_score", "finetune_accuracy"
# Pictures that stand open at once; the others of a kind are folded away, and then left out.
OPEN, MOST = 6, 48
_PERCENT = (0.0, 100.0)


@dataclass(frozen=True)
class Panel:
    """One picture, or two side by side: the place that it is of, and what it shows."""

    title: str
    pictures: list[Markup]


@dataclass(frozen=True)
class Figure:
    """Pictures of one kind.

    Args:
        title: its heading.
        panels: those that stand open.
        folded: those that a reader opens.
        left_out: how many there would be beside them.
        header, rows: the numbers as a table: titles, and cells of text.
    """

    title: str
    panels: list[Panel]
    folded: list[Panel]
    left_out: int
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Legend:
    """What a colour and shape stand for."""

    mark: Markup
    name: str


def styles(comparison: Comparison) -> dict[str, int]:
    """Every variant's colour and shape, the same in all pictures; the baseline's is the first."""
    names = list(dict.fromkeys(row.variant for row in comparison.rows))
    names.sort(key=lambda name: name != comparison.baseline)
    return {name: i for i, name in enumerate(names)}


def legend(comparison: Comparison) -> list[Legend]:
    """One entry for each variant."""
    return [Legend(key(style), name) for name, style in styles(comparison).items()]


def tradeoff(comparison: Comparison) -> Figure | None:
    """Harmful score against fine-tune accuracy, a picture for each place; None without both."""
    rows = [row for row in comparison.rows if {X, Y} <= {*row.cells}]
    if not rows:
        return None
    values = [v for row in rows for e in [row.cells[Y].mean] for v in (e.low, e.high)]
    low, high = span(values, 20, _PERCENT)
    chosen = styles(comparison)
    panels = []
    for place, members in _by(rows, comparison.place):
        x = horizontal("harmful score (%)", 0, 100)
        y = vertical("fine-tune accuracy (%)", low, high)
        series = [
            Series(
                chosen[variant],
                [Point(_value(r.cells[X]), _value(r.cells[Y]), _told(r, (X, Y))) for r in own],
            )
            for variant, own in _by(members, lambda row: row.variant)
        ]
        title = place_name(dict(place))
        label = f"Harmful score against fine-tune accuracy{', ' if title else ''}{title}: "
        label += "the numbers are in the table of results."
        ticks = [f"{tick:g}" for tick in x.ticks]
        panels.append(Panel(title, [chart(x, y, series, label, ticks, joined=False)]))
    return _figure("", panels, [], [])


def curves(comparison: Comparison) -> list[Figure]:
    """Harmful score and accuracy over every axis of numbers, in the study's order."""
    return [found for axis in comparison.axes if (found := _curve(comparison, axis)) is not None]


def _curve(comparison: Comparison, axis: str) -> Figure | None:
    rows = [row for row in comparison.rows if _is_number(row.axes.get(axis))]
    values = sorted({float(row.axes[axis]) for row in rows})
    metrics = [m for m in (X, Y) if any(m in row.cells for row in rows)]
    if len(values) < 2 or not metrics:
        return None
    log = values[0] > 0 and values[-1] / values[0] >= 8
    chosen = styles(comparison)
    panels = []
    rest = [name for name in comparison.shared if name != axis]
    for place, members in _by(rows, lambda row: _axes(row, rest)):
        pictures = [_lines(axis, values, log, metric, members, chosen, place) for metric in metrics]
        panels.append(Panel(place_name(dict(place)), pictures))
    others = [name for name in comparison.axes if name != axis]
    header = [
        "variant",
        *map(axis_name, others),
        axis_name(axis),
        *(known_metric(m).heading for m in metrics),
    ]
    table = [
        [
            row.variant,
            *(short(row.axes.get(name)) for name in others),
            short(row.axes[axis]),
            *(_words(row.cells.get(metric)) for metric in metrics),
        ]
        for row in sorted(rows, key=lambda r: list(chosen).index(r.variant))
    ]
    return _figure(axis_name(axis), panels, header, table)


def _lines(
    axis: str,
    values: Sequence[float],
    log: bool,
    metric: str,
    rows: Sequence[Row],
    chosen: Mapping[str, int],
    place: tuple[tuple[str, Any], ...],
) -> Markup:
    rows = [row for row in rows if metric in row.cells]
    low, high = values[0], values[-1]
    margin = (high / low) ** 0.06 if log else 0.06 * (high - low)
    ends = (low / margin, high * margin) if log else (low - margin, high + margin)
    x = horizontal(axis_name(axis), *ends, log=log, ticks=values)
    seen = [v for row in rows for e in [row.cells[metric].mean] for v in (e.low, e.high)]
    bounds = span(seen, 20, _PERCENT) if metric == Y else _PERCENT
    y = vertical(f"{known_metric(metric).words} (%)", *bounds)
    names = [name for name in dict.fromkeys(n for row in rows for n in row.axes) if name != axis]
    series = []
    for _, own in _by(rows, lambda row: (row.variant, *_axes(row, names))):
        points = [
            Point(Value(v, v, v), _value(row.cells[metric]), _told(row, (metric,)))
            for row in sorted(own, key=lambda r: r.axes[axis])
            for v in [float(row.axes[axis])]
        ]
        series.append(Series(chosen[own[0].variant], points))
    where = place_name(dict(place))
    label = f"{known_metric(metric).words} over {axis_name(axis)}{', ' if where else ''}{where}: "
    label += "the numbers are in the table below."
    return chart(x, y, series, label, [short(tick) for tick in x.ticks], joined=True)


def _figure(title: str, panels: list[Panel], header: list[str], rows: list[list[str]]) -> Figure:
    left_out = max(0, len(panels) - MOST)
    return Figure(title, panels[:OPEN], panels[OPEN:MOST], left_out, header, rows)


def _by(rows: Sequence[Row], key_of: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    """Rows by a key, in the order of the first of each; values of axes need not be hashable."""
    groups: dict[str, tuple[Any, list[Row]]] = {}
    for row in rows:
        found = key_of(row)
        groups.setdefault(repr(found), (found, []))[1].append(row)
    return list(groups.values())


def _axes(row: Row, names: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, row.axes[name]) for name in names if name in row.axes)


def _value(cell: Cell) -> Value:
    return Value(cell.mean.value, cell.mean.low, cell.mean.high)


def _words(cell: Cell | None) -> str:
    return "–" if cell is None else f"{number(cell.mean.value)} {interval(cell.mean)}"


def _told(row: Row, metrics: Sequence[str]) -> str:
    place = f" ({place_name(row.axes)})" if row.axes else ""
    found = [f"{known_metric(m).title} {_words(row.cells[m])}" for m in metrics]
    return f"{row.variant}{place}: {', '.join(found)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
