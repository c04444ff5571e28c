"""Panels in a picture: axes with their ticks and titles, one or many, with a key below them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from holdfast.report.drawing.canvas import Picture, fitted, plain, size
from holdfast.report.drawing.looks import INK, LINE, SOFT, Look

TEXT = 11  # pixels, of ticks and labels
_MARGIN = 14  # left of headings and titles


@dataclass(frozen=True)
class Scale:
    """One direction of a panel.

    Args:
        title: what it shows.
        low, high: the values at its ends.
        ticks: the values that are marked, with their texts; None for round ones.
        log: logarithmic; both ends are above zero.
        grid: whether a line runs through the panel at every tick.
    """

    title: str
    low: float
    high: float
    ticks: Mapping[float, str] | None = None
    log: bool = False
    grid: bool = True

    def marked(self, most: int) -> dict[float, str]:
        """The ticks with their texts, of round ones about so many at most."""
        if self.ticks is not None:
            return dict(self.ticks)
        found = MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        # Sums of steps may miss zero by a rounding error.
        near_zero = 1e-9 * (self.high - self.low)
        rounded = (0.0 if abs(t) < near_zero else float(t) for t in found)
        return {t: f"{t:g}".replace("-", "−") for t in rounded if self.holds(t)}

    def holds(self, value: float) -> bool:
        """Whether the value is on it."""
        return self.low - 1e-9 <= value <= self.high + 1e-9


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: what stands above it; "" for nothing.
        x, y: its scales.
        draw: draws into it.
        left, right: the room beside it.
    """

    title: str
    x: Scale
    y: Scale
    draw: Callable[[Picture, Axes], None]
    left: float = 50
    right: float = 12


@dataclass(frozen=True)
class Setting:
    """How panels stand together.

    Args:
        columns: how many stand in a line.
        width: of the whole picture.
        height: of one panel's axes.
        heading, subheading: what stands above all of them.
        note: what stands below.
        key: names and looks that stand below.
        lines: what stands above each line of panels, where that needs words.
    """

    columns: int
    width: float
    height: float
    heading: str = ""
    subheading: str = ""
    note: str = ""
    key: Mapping[str, Look] = field(default_factory=dict)
    lines: Sequence[str] = ()


def compose(panels: Sequence[Panel | None], setting: Setting, label: str) -> Picture:
    """A picture of panels, line by line; None leaves a place free.

    Args:
        panels: the panels.
        setting: how they stand.
        label: what the picture shows, for those who do not see it.
    """
    lines = [panels[i : i + setting.columns] for i in range(0, len(panels), setting.columns)]
    above = 8 + (24 if setting.heading else 0) + (18 if setting.subheading else 0)
    key = _flow(setting.key, setting.width)
    below = (4 + 20 * len(key) if key else 0) + (20 if setting.note else 0) + 2
    tops = [20 if any(p and p.title for p in line) else 4 for line in lines]
    spoken = [*setting.lines, *[""] * (len(lines) - len(setting.lines))]
    height = above + sum(top + setting.height + 42 for top in tops) + below
    height += sum(22 for words in spoken if words)
    picture = Picture(setting.width, height, label)
    y = 18.0
    if setting.heading:
        picture.words(_MARGIN, y, setting.heading, fontsize=14, fontweight="bold", color=INK)
        y += 22
    if setting.subheading:
        picture.words(_MARGIN, y, setting.subheading, fontsize=10)
    y = float(above)
    width = setting.width / setting.columns
    for line, top, words in zip(lines, tops, spoken, strict=True):
        if words:
            picture.words(_MARGIN, y + 10, words, color=INK, fontsize=TEXT)
            y += 22
        for number, panel in enumerate(line):
            if panel:
                wide = width - panel.left - panel.right
                axes = picture.axes(number * width + panel.left, y + top, wide, setting.height)
                _frame(axes, panel, wide, setting.height)
                panel.draw(picture, axes)
                for artist in (*axes.lines, *axes.patches, *axes.texts):
                    artist.set_clip_on(False)  # half a mark at the border tells nothing
        y += top + setting.height + 42
    for row in key:
        for name, x in row:
            picture.mark(x + 8, y + 8, setting.key[name])
            picture.words(x + 20, y + 8, plain(name), color=INK, fontsize=10)
        y += 20
    if setting.note:
        picture.words(_MARGIN, y + 8, setting.note, fontsize=9.5)
    return picture


def span(values: Sequence[float], least: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The ends of a scale that holds the values, some room, and at least so much."""
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), (least - (high - low)) / 2)
    low, high = max(bounds[0], low - room), min(bounds[1], high + room)
    return (low, high) if high > low else (low, low + least)


def percents(title: str, low: float = 0.0, high: float = 100.0) -> Scale:
    """A scale of percentages with a little room beyond its ends, for marks and labels."""
    room = 0.04 * (high - low)
    shown = Scale(title, low, high).marked(6)
    return Scale(title, low - room, high + room, shown)


def _frame(axes: Axes, panel: Panel, wide: float, tall: float) -> None:
    x, y = panel.x, panel.y
    if x.log:
        axes.set_xscale("log")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    below, beside = x.marked(int(wide // 60)), y.marked(int(tall // 36))
    axes.set_xticks([*below], _fitting(axes, below))
    axes.set_yticks([*beside], [plain(text, 34) for text in beside.values()])
    axes.minorticks_off()
    axes.tick_params(colors=SOFT, length=0, labelsize=TEXT, pad=5)
    for one, scale in ((axes.xaxis, x), (axes.yaxis, y)):
        if scale.grid:
            one.grid(color=LINE, linewidth=0.8)
    below_all = fitted(x.title, wide + 2 * min(panel.left, panel.right), TEXT)
    axes.set_xlabel(below_all, fontsize=TEXT, color=INK, labelpad=5)
    if y.title:
        axes.set_ylabel(plain(y.title, 80), fontsize=TEXT, color=INK)
        axes.yaxis.set_label_coords(-(panel.left - 16) / wide, 0.5)
    if panel.title:
        style: dict[str, Any] = {"fontsize": TEXT, "fontweight": "bold", "color": INK}
        style |= {"x": (_MARGIN - panel.left) / wide, "pad": 6}
        title = fitted(panel.title, panel.left + wide + panel.right - _MARGIN, TEXT, "bold")
        axes.set_title(title, loc="left", **style)


def _fitting(axes: Axes, ticks: Mapping[float, str]) -> list[str]:
    """The ticks' texts, without those that would stand on the one before."""
    taken, found = float("-inf"), []
    for value, text in ticks.items():
        middle = axes.transData.transform((value, axes.get_ylim()[0]))[0]
        half = size(text, TEXT)[0] / 2
        found.append(plain(text) if middle - half > taken else "")
        if found[-1]:
            taken = middle + half + 4
    return found


def _flow(key: Mapping[str, Look], width: float) -> list[list[tuple[str, float]]]:
    """Lines of a key: names and where each begins, as many in a line as there is room for."""
    lines: list[list[tuple[str, float]]] = []
    x = width
    for name in key:
        wide = size(plain(name), 10)[0] + 36
        if x + wide > width or not lines:
            lines.append([])
            x = 8.0
        lines[-1].append((name, x))
        x += wide
    return lines
