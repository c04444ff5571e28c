"""Curves over every swept axis: harmful score and fine-tune accuracy with their intervals."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from holdfast.errors import UserError
from holdfast.report.figure import DPI, save
from holdfast.report.marks import INK, line_name, mark, plain
from holdfast.report.metrics import MAIN, known_metric
from holdfast.report.rows import Comparison, Row
from holdfast.report.run import Run
from holdfast.report.sheet import settings_words
from holdfast.report.table import header
from holdfast.report.words import axis_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_METRICS = MAIN[:2]
_LOG_FROM = 20  # an axis whose largest value is so many times its smallest is logarithmic


@dataclass(frozen=True)
class Curves:
    """One picture: an axis at one place of all others that every variant has.

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


def curves(comparison: Comparison) -> list[Curves]:
    """All curves that a comparison has: axes with two numbers or more."""
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
            if made.lines:
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
    lines = {
        name: sorted(own, key=lambda row: row.axes[axis])
        for name, own in lines.items()
        if len(own) > 1
    }
    return Curves(axis, dict(rest), lines, levels)


def draw_curves(run: Run, comparison: Comparison, folder: Path) -> list[Path]:
    """Write a PNG for each of `curves`; gives the files.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from None
    paths = []
    for one in curves(comparison):
        path = folder / f"{_file_name(one)}.png"
        save(_drawn(one, run), path)
        paths.append(path)
    return paths


def _drawn(one: Curves, run: Run) -> Figure:
    figure = Figure(figsize=(10, 4.6), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = cast("Sequence[Axes]", figure.subplots(1, 2))
    words = axis_name(one.axis)
    values = [row.axes[one.axis] for rows in one.lines.values() for row in rows]
    logarithmic = min(values) > 0 and max(values) / min(values) >= _LOG_FROM
    for axes, metric in zip(panels, _METRICS, strict=True):
        for number, (name, rows) in enumerate(one.lines.items()):
            _line(axes, name, [r for r in rows if metric in r.cells], metric, one.axis, number)
        for number, (name, row) in enumerate(one.levels.items(), start=len(one.lines)):
            if metric in row.cells:
                _level(axes, name, row, metric, number)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(sorted(set(values)), [f"{v:g}" for v in sorted(set(values))])
        axes.minorticks_off()
        known = known_metric(metric)
        axes.set_title(f"{known.heading}: {known.words} (%)", loc="left", fontsize=11, color=INK)
        axes.set_xlabel(plain(words), fontsize=10.5, color=INK)
        axes.set_ylim(-3, 103)
        axes.grid(color="#E8E8E8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK, length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    where = f", {settings_words(one.place)}" if one.place else ""
    figure.suptitle(
        plain(f"{header(run.protocol)}{where}"), fontsize=9, color="#666666", x=0.01, ha="left"
    )
    return figure


def _line(
    axes: "Axes", name: str, rows: Sequence[Row], metric: str, axis: str, number: int
) -> None:
    if not rows:
        return
    look = mark(number)
    x = [row.axes[axis] for row in rows]
    means = [row.cells[metric].mean for row in rows]
    low, high = [mean.low for mean in means], [mean.high for mean in means]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.13, linewidth=0)
    axes.plot(
        x,
        [mean.value for mean in means],
        **look,
        markersize=6,
        linewidth=1.6,
        label=plain(name),
    )


def _level(axes: "Axes", name: str, row: Row, metric: str, number: int) -> None:
    """A variant without the axis, as a level line."""
    color, mean = mark(number)["color"], row.cells[metric].mean
    axes.axhspan(mean.low, mean.high, color=color, alpha=0.08, linewidth=0)
    axes.axhline(mean.value, color=color, linestyle="--", linewidth=1.3, label=plain(name))


def _file_name(one: Curves) -> str:
    parts = [one.axis, *(f"{axis}={value}" for axis, value in one.place.items())]
    return re.sub(r"[^\w.=-]+", "_", "curve-" + "-".join(parts))[:120]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
