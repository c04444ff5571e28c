"""Shades of a grid of values, and a map of points that belong in pairs."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from holdfast.report.drawing.canvas import Picture, plain, settings, size
from holdfast.report.drawing.looks import ACCENT, INK, Look
from holdfast.report.drawing.marks import Point, draw_points, exact
from holdfast.report.drawing.panels import TEXT, Panel, Scale, Setting, compose, span
from holdfast.report.words import number

_WIDE = 336  # pixels, of a grid whose columns have room there: as a panel of the page is wide
_NAME = 34  # characters of a row's name, as of a tick
# The models of a map.
ALIGNED, TUNED = Look("none", "ink", "o"), Look("finetune", "accent", "s")


@settings()
def shades_picture(
    columns: Sequence[str],
    rows: Sequence[str],
    values: Sequence[Sequence[float | None]],
    told: Sequence[Sequence[str]],
    label: str,
    title: str,
    top: float | None = None,
    written: bool = False,
) -> Picture:
    """A grid of cells, the stronger in shade the larger their value.

    Args:
        columns, rows: their names.
        values: [rows, columns], 0 or more; None where there is none.
        told: what a pointer on a cell shows.
        label: what the picture shows, for those who do not see it.
        title: what the columns are.
        top: the value of the strongest shade, where several pictures have one scale.
        written: whether cells have their values in them and every column its name.
    """
    top = top or max((v for row in values for v in row if v is not None), default=0) or 1
    left = 14 + max((size(plain(name, _NAME), TEXT)[0] for name in rows), default=0)
    widest = max((size(name, TEXT)[0] for name in columns), default=0)
    cell = min(30.0, max(6.0, (_WIDE - 6 - left) / max(1, len(columns))))
    cell = max(cell, widest + 8, size(number(top), TEXT)[0] + 8) if written else cell
    deepest = 0.55 if written else 0.95  # a number can be read on it
    tall = 20 if len(rows) <= 12 or written else 12

    def draw(picture: Picture, axes: Axes) -> None:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                if value is not None:
                    strength = 0.05 + deepest * value / top
                    wide, high = 1 - 1 / cell, 1 - 1 / tall
                    one = Rectangle((j, i), wide, high, color=ACCENT, alpha=strength, linewidth=0)
                    axes.add_patch(one)
                    picture.tell(one, told[i][j])
                    if written:
                        middle = {"ha": "center", "va": "center", "fontsize": TEXT, "color": INK}
                        axes.text(j + 0.5, i + 0.5, number(value), **middle)

    # Where not all columns can have their names, every second has, or every third.
    every = math.ceil((widest + 4) / cell)
    named = {i + 0.5: columns[i] for i in range(0, len(columns), every)}
    x = Scale(title, 0, len(columns), named, grid=False)
    y = Scale("", len(rows), 0, {i + 0.5: n for i, n in enumerate(rows)}, grid=False)
    panel = Panel("", x, y, draw, left, 6)
    width = left + max(cell * len(columns), size(title, TEXT)[0]) + 6
    return compose([panel], Setting(1, width, tall * len(rows)), label)


@settings()
def map_picture(
    models: Mapping[str, Sequence[tuple[float, float]]], titles: Sequence[str], label: str
) -> Picture:
    """Where the rows of two models are on two axes of the same unit.

    Args:
        models: by its name, the places of a model's rows.
        titles: of the two axes.
        label: what the picture shows, for those who do not see it.
    """
    known = dict(zip(models, (ALIGNED, TUNED), strict=True))
    points = [
        Point(exact(x), exact(y), look, f"{model}, row {row}")
        for model, look in known.items()
        for row, (x, y) in enumerate(models[model])
    ]
    unbounded = (float("-inf"), float("inf"))
    ends = [
        span([at[i] for places in models.values() for at in places], 1e-6, unbounded)
        for i in (0, 1)
    ]
    x, y = (Scale(title, *end) for title, end in zip(titles, ends, strict=True))

    def draw(picture: Picture, axes: Axes) -> None:
        draw_points(picture, axes, points, 6)

    setting = Setting(1, 400, 260, key=known)
    return compose([Panel("", x, y, draw, 64)], setting, label)


@settings()
def key_picture(look: Look) -> Picture:
    """The mark of a look by itself, for a legend on the page."""
    picture = Picture(16, 16, "")
    picture.mark(8, 8, look)
    return picture
