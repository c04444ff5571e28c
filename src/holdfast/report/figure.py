"""The comparison as a picture: harmful score against fine-tune accuracy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from holdfast.errors import UserError
from holdfast.report.labels import Box, anchor, place
from holdfast.report.marks import INK, intervals, plain
from holdfast.report.panels import panels_figure
from holdfast.report.rows import Comparison, Row
from holdfast.report.run import Run
from holdfast.report.sheet import settings_words
from holdfast.report.table import header

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 160
_CONTROLS = ("random_perturbation", "random_mask")
# Okabe and Ito's palette, which colour-blind readers can tell apart; shape and colour by stage.
_STYLES = {
    "no attack (p = 0)": ("#000000", "*", 15),
    "no defense": ("#000000", "X", 10),
    "defense in alignment": ("#0072B2", "o", 8.5),
    "defense in fine-tuning": ("#D55E00", "^", 9),
    "defense by repair": ("#009E73", "s", 8),
    "defenses in several stages": ("#CC79A7", "D", 8),
    "control": ("#808080", "v", 8.5),
}
_MOST_LABELS = 24  # more points with their names are a thicket


def comparison_figure(run: Run, comparison: Comparison, path: Path) -> None:
    """Draw every row as a point with its 95 % intervals both ways, and write a PNG.

    Many rows are a grid of small pictures, one for each place of the study. The picture is written
    beside `path` and renamed into it, so it is whole or not there.

    Args:
        run: the run, for its protocol.
        comparison: its numbers.
        path: the PNG file.

    Raises:
        UserError: no row has both metrics; the file cannot be written.
    """
    rows = [r for r in comparison.rows if {"harmful_score", "finetune_accuracy"} <= {*r.cells}]
    if not rows:
        raise UserError("no record has both 'harmful_score' and 'finetune_accuracy' to draw")
    told = header(run.protocol)
    if len(rows) > _MOST_LABELS:
        save(panels_figure(rows, comparison.shared, told, DPI), path)
        return
    figure = Figure(figsize=(9, 6), dpi=DPI, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = cast("Axes", figure.subplots())
    _frame(axes, rows)
    for row in rows:
        _point(axes, row)
    axes.set_title(
        "Harmful fine-tuning: what stays safe and still learns the task",
        loc="left",
        fontsize=13,
        fontweight="bold",
        color=INK,
        pad=24,
    )
    axes.text(0, 1.015, plain(told), transform=axes.transAxes, fontsize=9, color="#666666")
    notes = comparison.notes[:1]
    if comparison.budget_notes:
        notes.append("Budgets differ: see the table.")
    notes = "  ".join(notes)
    figure.supxlabel(plain(notes), fontsize=8.5, color="#666666", x=0.01, ha="left")
    _legend(axes, rows)
    canvas.draw()
    figure.set_layout_engine("none")
    _labels(axes, rows, canvas)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    beside = path.with_name(path.name + ".new")
    try:
        figure.savefig(beside, format="png", dpi=DPI)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        beside.unlink(missing_ok=True)


def stage(row: Row) -> str:
    """Where a pipeline defends: the key of its colour and shape."""
    methods = [m for m in (row.align, row.finetune, row.repair) if m not in ("sft", None)]
    if not methods:
        return "no attack (p = 0)" if row.axes.get("harmful_ratio") == 0 else "no defense"
    if all(method in _CONTROLS for method in methods):
        return "control"
    if len(methods) > 1:
        return "defenses in several stages"
    if row.align != "sft":
        return "defense in alignment"
    return "defense in fine-tuning" if row.finetune != "sft" else "defense by repair"


def _frame(axes: "Axes", rows: Sequence[Row]) -> None:
    lowest = min(row.cells["finetune_accuracy"].mean.low for row in rows)
    highest = max(row.cells["finetune_accuracy"].mean.high for row in rows)
    room = 0.35 * max(highest - lowest, 8)
    axes.set_xlim(-4, 104)
    axes.set_ylim(max(-4, lowest - room), min(104, highest + room))
    axes.set_xlabel("harmful score: harmful requests answered (%)", fontsize=11, color=INK)
    axes.set_ylabel("fine-tune accuracy on the user's task (%)", fontsize=11, color=INK)
    axes.grid(color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()  # beyond 100 there is room for labels, and no accuracy
    ticks = MaxNLocator(nbins=8, integer=True).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if max(0, low) <= tick <= min(100, high)])
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    good = {
        "transform": axes.transAxes,
        "fontsize": 10,
        "color": "#007A55",
        "fontweight": "bold",
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 2},
    }
    axes.text(0.01, 0.015, "← safer", ha="left", va="bottom", **good)
    axes.text(0.99, 0.985, "more accurate ↑", ha="right", va="top", **good)


def _point(axes: "Axes", row: Row) -> None:
    x, y = row.cells["harmful_score"].mean, row.cells["finetune_accuracy"].mean
    color, marker, size = _STYLES[stage(row)]
    intervals(axes, x, y, color, 1.4)
    # The baseline without an attack is hollow: it is the goal, not a defense.
    fill = "white" if row.axes.get("harmful_ratio") == 0 else color
    axes.plot(
        x.value,
        y.value,
        marker=marker,
        markersize=size,
        markerfacecolor=fill,
        markeredgecolor=color if row.axes.get("harmful_ratio") == 0 else "white",
        markeredgewidth=1.2,
        zorder=3,
    )


def _legend(axes: "Axes", rows: Sequence[Row]) -> None:
    used = {stage(row) for row in rows}
    for name, (color, marker, size) in _STYLES.items():
        if name in used:
            hollow = name == "no attack (p = 0)"
            axes.plot(
                [],
                [],
                marker,
                color=color,
                markersize=size * 0.85,
                label=name,
                markerfacecolor="white" if hollow else color,
            )
    axes.legend(
        loc="lower right",
        fontsize=9,
        labelcolor=INK,
        frameon=True,
        facecolor="white",
        edgecolor="#DDDDDD",
        framealpha=1,
    )


def _labels(axes: "Axes", rows: Sequence[Row], canvas: FigureCanvasAgg) -> None:
    """Name every point, each label beside it or joined to it by a thin line."""
    scale = DPI / 100
    to_pixels, inverse = axes.transData.transform, axes.transData.inverted().transform
    points: list[tuple[float, float]] = []
    obstacles: list[Box] = []
    for row in rows:
        x, y = row.cells["harmful_score"].mean, row.cells["finetune_accuracy"].mean
        px, py = to_pixels((x.value, y.value))
        points.append((px, py))
        obstacles.append(Box(px, py, px, py).grown(8 * scale))
        (left, bottom), (right, top) = to_pixels((x.low, y.low)), to_pixels((x.high, y.high))
        obstacles.append(Box(left, py, right, py).grown(1.5 * scale))
        obstacles.append(Box(px, bottom, px, top).grown(1.5 * scale))
    renderer = canvas.get_renderer()
    for fixed in (axes.get_legend(), *axes.texts[:2]):
        if fixed is not None:
            obstacles.append(Box(*fixed.get_window_extent(renderer).extents).grown(3 * scale))
    style: dict[str, Any] = {"fontsize": 10.5, "ha": "center", "va": "center", "zorder": 5}
    texts = [axes.text(0, 0, plain(_label(row, rows)), color=_ink(row), **style) for row in rows]
    extents = [text.get_window_extent(renderer) for text in texts]
    frame = Box(*axes.get_window_extent(renderer).extents)
    boxes = place(points, [(e.width, e.height) for e in extents], obstacles, frame, scale)
    for row, text, point, box in zip(rows, texts, points, boxes, strict=True):
        middle = inverse(((box.left + box.right) / 2, (box.bottom + box.top) / 2))
        text.set_position(tuple(middle))
        start, end = inverse(point), inverse(anchor(point, box))
        axes.plot(
            [start[0], end[0]],
            [start[1], end[1]],
            color=_STYLES[stage(row)][0],
            linewidth=0.8,
            alpha=0.6,
            zorder=1,
        )


def _label(row: Row, rows: Sequence[Row]) -> str:
    """The variant, with what tells it from the other points: p where it is 0 or one of several."""
    attacks = {each.axes.get("harmful_ratio") for each in rows} - {0, None}
    told = {}
    for axis, value in row.axes.items():
        if axis == "harmful_ratio":
            shown = value == 0 or len(attacks) > 1
        else:
            shown = len({repr(each.axes.get(axis)) for each in rows}) > 1
        if shown:
            told[axis] = value
    return f"{row.variant}, {settings_words(told)}" if told else row.variant


def _ink(row: Row) -> str:
    """The colour of a label: the point's, the light ones darkened so that they read on white."""
    color: str = _STYLES[stage(row)][0]
    darker: dict[str, str] = {"#CC79A7": "#A04A7B", "#808080": "#5A5A5A", "#009E73": "#007A55"}
    return darker.get(color, color)
