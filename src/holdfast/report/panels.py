"""The comparison of many rows as a grid of small pictures, one for each place of the study."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from holdfast.report.marks import INK, intervals, line_name, mark, plain
from holdfast.report.rows import Row
from holdfast.report.words import place_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_COLUMNS = 6
_MOST_PANELS = 48
_GREY = "#666666"


def panels_figure(rows: Sequence[Row], shared: Sequence[str], title: str, dpi: int) -> Figure:
    """Harmful score (across) against fine-tune accuracy (up), a panel a place.

    The columns are the values of the axis that has most of them (of those that fit), the lines of
    panels all places on the other axes. More places than `_MOST_PANELS` are left out, and counted.

    Args:
        rows: rows that have both metrics.
        shared: the axes that all variants have.
        title: what stands above all.
        dpi: dots per inch.
    """
    across, columns, places = _layout(rows, shared)
    shown = places[: max(1, _MOST_PANELS // len(columns))]
    names = list(dict.fromkeys(line_name(row, shared) for row in rows))
    size = (max(7.0, 2.3 * len(columns) + 1), 2.1 * len(shown) + 0.28 * (len(names) // 3) + 1.4)
    figure = Figure(figsize=size, dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), len(columns), sharex=True, sharey=True, squeeze=False)
    for line, place in zip(cast("Any", grid), shown, strict=True):
        for axes, value in zip(line, columns, strict=True):
            here = {**place, **({across: value} if across else {})}
            own = [row for row in rows if all(row.axes.get(a) == v for a, v in here.items())]
            _panel(axes, own, names, shared)
        line[0].set_ylabel(_wrapped(place) + "FA (%)", fontsize=8.5, color=INK)
    for axes, value in zip(cast("Any", grid)[0], columns, strict=True):
        if across:
            axes.set_title(plain(place_name({across: value})), fontsize=9.5, color=INK)
    for axes in cast("Any", grid)[-1]:
        axes.set_xlabel("HS (%)", fontsize=8.5, color=INK)
    left_out = (len(places) - len(shown)) * len(columns)
    more = f" · {left_out} more places are not drawn" if left_out else ""
    figure.suptitle(plain(title + more), fontsize=9, color=_GREY, x=0.01, ha="left")
    found = [cast("Any", axes.get_legend_handles_labels()) for axes in figure.axes]
    handles = {name: h for hs, ns in found for h, name in zip(hs, ns, strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(4, max(2, len(columns))),
        fontsize=9,
        frameon=False,
    )
    return figure


def _layout(rows: Sequence[Row], shared: Sequence[str]) -> tuple[str, list[Any], list[dict]]:
    """The axis that runs across, its values, and the places on all other axes."""
    values = {a: list(dict.fromkeys(row.axes.get(a) for row in rows)) for a in shared}
    fitting = [a for a in shared if 1 < len(values[a]) <= _MOST_COLUMNS]
    across = max(fitting, key=lambda a: len(values[a]), default="")
    rest = [a for a in shared if a != across]
    places = {str(p): p for p in ({a: row.axes.get(a) for a in rest} for row in rows)}
    return across, values.get(across, [None]), list(places.values())


def _panel(axes: "Axes", rows: Sequence[Row], names: Sequence[str], shared: Sequence[str]) -> None:
    for row in rows:
        x, y = row.cells["harmful_score"].mean, row.cells["finetune_accuracy"].mean
        name = line_name(row, shared)
        look = mark(names.index(name))
        intervals(axes, x, y, look["color"], 1)
        # Nothing beyond the nine looks has dashes to show: such points are hollow.
        fill = look["color"] if look["linestyle"] == "-" else "white"
        axes.plot(
            x.value,
            y.value,
            look["marker"],
            color=look["color"],
            markerfacecolor=fill,
            markersize=5.5,
            label=plain(name),
            linestyle="none",
        )
    axes.set_xlim(-6, 106)
    axes.set_xticks([0, 50, 100])
    axes.grid(color="#E8E8E8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=8.5)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _wrapped(place: Mapping[str, Any]) -> str:
    """A place in words, an axis a line."""
    return "".join(plain(place_name({axis: value})) + "\n" for axis, value in place.items())
