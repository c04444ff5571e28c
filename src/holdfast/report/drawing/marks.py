"""Points with their intervals and names: what the pictures of numbers are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform

from holdfast.report.drawing.canvas import Picture, plain, size
from holdfast.report.drawing.labels import Box, anchor, place
from holdfast.report.drawing.looks import FAINT, INK, Look
from holdfast.report.drawing.panels import TEXT
from holdfast.report.metrics import known_metric
from holdfast.report.rows import Row
from holdfast.report.words import interval, number, place_name
from holdfast.statistics.estimates import Estimate

# Above the grid; in every layer what is drawn later, the better, is in front.
_BARS, _MARKS, _LABELS = 2, 4, 6


@dataclass(frozen=True)
class Point:
    """A place with its intervals.

    Args:
        x, y: where it is.
        look: its colour and mark.
        told: what a pointer on it shows.
        name: its label; "" for none.
    """

    x: Estimate
    y: Estimate
    look: Look
    told: str
    name: str = ""


def exact(value: float) -> Estimate:
    """A value without an interval."""
    return Estimate(value, value, value, 0)


def told(row: Row, metrics: Sequence[str]) -> str:
    """A row's name, place and numbers, for a pointer."""
    where = f" ({place_name(row.axes)})" if row.axes else ""
    words = (
        f"{known_metric(m).title} {number(mean.value)} {interval(mean)}".rstrip()
        for m in metrics
        for mean in [row.cells[m].mean]
    )
    return f"{row.variant}{where}: {', '.join(words)}"


def draw_points(
    picture: Picture, axes: Axes, points: Sequence[Point], large: float = 8, aside: float = 0.0
) -> None:
    """Draw points, each with its bars below all marks; the last are in front.

    Args:
        picture, axes: where.
        points: the points.
        large: the size of their marks.
        aside: pixels to the right of their places.
    """
    moved = shifted(axes, aside)
    for rank, point in enumerate(points):
        order = rank / len(points)
        bar: dict[str, Any] = {"color": point.look.ink, "linewidth": 1.5, "alpha": 0.5}
        bar |= {"zorder": _BARS + order, "transform": moved, "solid_capstyle": "butt"}
        if point.x.low < point.x.high:
            axes.plot([point.x.low, point.x.high], [point.y.value] * 2, **bar)
        if point.y.low < point.y.high:
            axes.plot([point.x.value] * 2, [point.y.low, point.y.high], **bar)
        (mark,) = axes.plot(
            [point.x.value],
            [point.y.value],
            linestyle="none",
            transform=moved,
            zorder=_MARKS + order,
            **point.look.marker(large),
        )
        picture.tell(mark, point.told)


def draw_context(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Points that another panel tells of, as dots behind all others."""
    style: dict[str, Any] = {"color": FAINT, "markersize": 4, "markeredgewidth": 0}
    axes.plot(x, y, marker="o", linestyle="none", zorder=1, **style)


def name_points(axes: Axes, points: Sequence[Point], must: bool) -> None:
    """Write the points' names beside them, where no name covers a mark, a bar or another name.

    Args:
        axes: where; the scales are final.
        points: the points, the most important first.
        must: write every name; otherwise those that fit.
    """

    def pixels(x: float, y: float) -> tuple[float, float]:
        left, bottom = axes.transData.transform((x, y))
        return float(left), float(bottom)

    obstacles: list[Box] = []
    for point in points:
        x, y = pixels(point.x.value, point.y.value)
        left, bottom = pixels(point.x.low, point.y.low)
        right, top = pixels(point.x.high, point.y.high)
        obstacles += [(x - 6, y - 6, x + 6, y + 6), (left, y - 1, right, y + 1)]
        obstacles.append((x - 1, bottom, x + 1, top))
    named = [point for point in points if point.name]
    names = [plain(point.name, 40) for point in named]
    places = [pixels(point.x.value, point.y.value) for point in named]
    box = axes.get_window_extent()
    frame = (box.x0 - 4, box.y0, box.x1 + 4, box.y1 + 2)
    sizes = [size(name, TEXT) for name in names]
    boxes = place(places, sizes, obstacles, frame, must)
    back = axes.transData.inverted()
    for point, name, at, found in zip(named, names, places, boxes, strict=True):
        if found is None:
            continue
        middle = ((found[0] + found[2]) / 2, (found[1] + found[3]) / 2)
        x, y = back.transform(middle)
        style: dict[str, Any] = {"fontsize": TEXT, "ha": "center", "va": "center"}
        axes.text(x, y, name, color=INK, zorder=_LABELS, **style)
        start, end = back.transform(at), back.transform(anchor(at, found))
        line: dict[str, Any] = {"color": point.look.ink, "linewidth": 0.8, "alpha": 0.7}
        axes.plot([start[0], end[0]], [start[1], end[1]], zorder=1, **line)


def shifted(axes: Axes, aside: float) -> Transform:
    """The axes' own places, some pixels to the right."""
    figure = axes.figure
    assert figure is not None
    return axes.transData + ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans)
