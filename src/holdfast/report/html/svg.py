"""Charts as SVG: points with intervals, lines over an axis, shades on a grid.

Colours come from the page's style sheet (classes ``s0`` … ``s7`` set ``color``), so that one
picture is right in the light and in the dark. A series has a shape beside its colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from holdfast.escape import visible

COLORS = 10
_SHAPES = (
    "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",  # circle
    "M-3.8-3.8h7.6v7.6h-7.6z",  # square
    "M0-5L4.7 3.8H-4.7z",  # triangle
    "M0-5.4L5.4 0L0 5.4L-5.4 0z",  # diamond
    "M0 5L4.7-3.8H-4.7z",  # triangle, point down
    "M-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",  # plus
    "M0-5.6L1.6-1.8L5.4-1.7L2.4.8L3.4 4.6L0 2.4L-3.4 4.6L-2.4.8L-5.4-1.7L-1.6-1.8z",  # star
    "M-5 0L-2.5-4.3H2.5L5 0L2.5 4.3H-2.5z",  # hexagon
)


@dataclass(frozen=True)
class Value:
    """A position with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A point of a chart; ``told`` is shown beside the mouse."""

    x: Value
    y: Value
    told: str


@dataclass(frozen=True)
class Series:
    """Points of one look: ``style`` chooses colour and shape."""

    style: int
    points: Sequence[Point]


class Axis:
    """One direction of a chart: from values to pixels, with ticks.

    Args:
        title: what it shows.
        low, high: the values at its ends.
        start, end: the pixels at its ends.
        log: logarithmic; both ends are above zero.
        ticks: the values to label; round ones if not given.
    """

    def __init__(
        self,
        title: str,
        low: float,
        high: float,
        start: float,
        end: float,
        log: bool = False,
        ticks: Sequence[float] | None = None,
    ):
        self.title, self.low, self.high, self.start, self.end = title, low, high, start, end
        self.log = log
        found = (
            MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high)
            if ticks is None
            else ticks
        )
        self.ticks = [t for t in map(float, found) if low - 1e-12 <= t <= high + 1e-12]

    def __call__(self, value: float) -> float:
        """The pixel of a value, at most at the ends."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def span(values: Sequence[float], least: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The ends of an axis that holds the values, some room, and at least so much."""
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), (least - (high - low)) / 2)
    low, high = max(bounds[0], low - room), min(bounds[1], high + room)
    return (low, high) if high > low else (low, low + least)


WIDTH, HEIGHT = 284, 228
LEFT, RIGHT, TOP, BOTTOM = 42, 14, 10, 44


def horizontal(title: str, low: float, high: float, **more: object) -> Axis:
    """An axis along the bottom of a chart."""
    return Axis(title, low, high, LEFT, WIDTH - RIGHT, **more)  # pyright: ignore[reportArgumentType]


def vertical(title: str, low: float, high: float) -> Axis:
    """An axis up its left side."""
    return Axis(title, low, high, HEIGHT - BOTTOM, TOP)


def chart(
    x: Axis, y: Axis, series: Sequence[Series], label: str, ticks: Sequence[str], joined: bool
) -> Markup:
    """Points with their intervals, joined by lines where they are a curve.

    Args:
        x, y: the axes.
        series: what to draw; the first lies below.
        label: what the picture shows, for those who do not see it.
        ticks: the labels of the x axis's ticks.
        joined: draw each series as a line.
    """
    root = _element("svg", None, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)
    _frame(root, x, y, ticks)
    drawn = []
    for number, one in enumerate(series):
        group = _element("g", root, class_=f"s{one.style % COLORS}")
        # Points of a curve stand at the same x: side by side their intervals can be seen.
        aside = (number - (len(series) - 1) / 2) * 3 if joined else 0.0
        places = [(x(p.x.value) + aside, y(p.y.value)) for p in one.points]
        if joined and len(places) > 1:
            line = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
            _element("path", group, d=f"M{line}", class_="line")
        bars = []
        for point, (px, py) in zip(one.points, places, strict=True):
            bars.append(f"M{px:.1f} {y(point.y.low):.1f}V{y(point.y.high):.1f}")
            if not joined:
                bars.append(f"M{x(point.x.low):.1f} {py:.1f}H{x(point.x.high):.1f}")
        _element("path", group, d="".join(bars), class_="bar")
        drawn.append((one, places))
    # The markers lie over all bars and lines.
    for one, places in drawn:
        group = _element("g", root, class_=f"s{one.style % COLORS}")
        for point, (px, py) in zip(one.points, places, strict=True):
            mark = _element("g", group)
            _element("title", mark).text = visible(point.told)
            _marker(mark, one.style, px, py)
    return _markup(root)


def key(style: int) -> Markup:
    """The marker of a series, for a legend."""
    root = _element(
        "svg", None, viewBox="-8 -8 16 16", class_=f"key s{style % COLORS}", aria_hidden="true"
    )
    _marker(root, style, 0, 0)
    return _markup(root)


def shades(
    columns: Sequence[str], rows: Sequence[str], values: Sequence[Sequence[float | None]],
    told: Sequence[Sequence[str]], label: str, x_title: str, top: float | None = None,
) -> Markup:  # fmt: skip
    """A grid of cells, the stronger in shade the larger their value.

    Args:
        columns, rows: their names.
        values: [rows, columns], 0 or more; None where there is none.
        told: what is shown beside the mouse.
        label: what the picture shows, for those who do not see it.
        x_title: what the columns are.
        top: the value of the strongest shade, where several pictures have one scale.
    """
    cell = min(30.0, max(10.0, 380 / max(1, len(columns))))
    tall = 20 if len(rows) <= 12 else 12
    left = 14 + 6.4 * max(map(len, rows), default=0)
    width = left + cell * len(columns) + 6
    height = 8 + tall * len(rows) + 40
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    root = _element(
        "svg", None, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", aria_label=label, **size
    )
    top = top or max((v for row in values for v in row if v is not None), default=0) or 1
    for i, name in enumerate(rows):
        _text(root, left - 6, 8 + tall * (i + 0.5) + 4, name, "end")
        for j in range(len(columns)):
            value = values[i][j]
            place = {"x": f"{left + cell * j:.1f}", "y": f"{8 + tall * i:.1f}"}
            size = {"width": f"{cell - 1:.1f}", "height": f"{tall - 1:.1f}"}
            look = "heat" if value is not None else "none"
            rect = _element("rect", root, class_=look, **place, **size)
            if value is not None:
                rect.set("fill-opacity", f"{0.05 + 0.95 * value / top:.3f}")
                _element("title", rect).text = visible(told[i][j])
    every = max(1, math.ceil(7 * max(map(len, columns), default=1) / cell))
    for j in range(0, len(columns), every):
        _text(root, left + cell * (j + 0.5), 8 + tall * len(rows) + 15, columns[j], "middle")
    middle = left + cell * len(columns) / 2
    _text(root, middle, height - 6, x_title, "middle", "title")
    return _markup(root)


def _frame(root: ElementTree.Element, x: Axis, y: Axis, labels: Sequence[str]) -> None:
    grid = _element("g", root, class_="grid")
    for tick in y.ticks:
        _element("path", grid, d=f"M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}")
        _text(root, LEFT - 7, y(tick) + 4, f"{tick:g}", "end")
    taken = -math.inf
    for tick, name in zip(x.ticks, labels, strict=True):
        place = x(tick)
        _element("path", grid, d=f"M{place:.1f} {TOP}V{HEIGHT - BOTTOM}")
        half = 3.4 * len(name)
        if place - half > taken:
            _text(root, place, HEIGHT - BOTTOM + 16, name, "middle")
            taken = place + half + 4
    _text(root, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x.title, "middle", "title")
    title = _text(root, 0, 0, y.title, "middle", "title")
    title.set("transform", f"translate(11 {(TOP + HEIGHT - BOTTOM) / 2:.1f}) rotate(-90)")


def _marker(parent: ElementTree.Element, style: int, x: float, y: float) -> None:
    # Beyond ten series the shapes shift against the colours.
    shape = _SHAPES[(style + style // COLORS) % len(_SHAPES)]
    _element("path", parent, d=shape, class_="mark", transform=f"translate({x:.1f} {y:.1f})")


def _text(
    parent: ElementTree.Element, x: float, y: float, text: str, anchor: str, look: str = "tick"
) -> ElementTree.Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    found = _element("text", parent, class_=look, **place)
    found.text = visible(text)
    return found


def _element(
    name: str, parent: ElementTree.Element | None, **attributes: str
) -> ElementTree.Element:
    given = {k.rstrip("_").replace("_", "-"): visible(v) for k, v in attributes.items()}
    if parent is None:
        return ElementTree.Element(name, given)
    return ElementTree.SubElement(parent, name, given)


def _markup(root: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(root, encoding="unicode"))
