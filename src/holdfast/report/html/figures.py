"""The pictures of a comparison on the page: drawn for its width, and for that of a telephone."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from holdfast.report.drawing.attacks import attack_map, attack_picture, attack_rows
from holdfast.report.drawing.curves import METRICS, Curves, curves, metric_pictures
from holdfast.report.drawing.grids import key_picture
from holdfast.report.drawing.tradeoff import MOST_NAMES, Group, drawn_looks, group_picture, groups
from holdfast.report.metrics import known_metric
from holdfast.report.rows import Cell, Comparison
from holdfast.report.words import axis_name, interval, number, place_name, short

# Pictures that stand open at once; the others of a kind are folded away, and then left out.
OPEN, MOST = 6, 48
# Widths: of a picture that has the page for itself, there and on a telephone; of a place's beside
# others and of a metric's beside the other, which are as wide as their column on either.
WIDE, NARROW, PLACE, METRIC = 920, 350, 340, 400


@dataclass(frozen=True)
class Panel:
    """What is drawn of one place: its title and its pictures."""

    title: str
    pictures: list[Markup]


@dataclass(frozen=True)
class Figure:
    """Pictures of one kind.

    Args:
        title: its heading.
        look: how panels stand: "whole" (one below the other, as wide as the page), "pairs" or "".
        panels: those that stand open.
        folded: those that a reader opens.
        left_out: how many there would be beside them.
        header, rows: the numbers as a table: titles, and cells of text.
    """

    title: str
    look: str
    panels: list[Panel]
    folded: list[Panel]
    left_out: int
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Legend:
    """What a colour and mark stand for."""

    mark: Markup
    name: str


def legend(comparison: Comparison) -> list[Legend]:
    """One entry for each kind of point that is drawn."""
    found = drawn_looks(comparison)
    return [Legend(key_picture(look).svg("key"), name) for name, look in found.items()]


def tradeoff(comparison: Comparison) -> Figure | None:
    """Harmful score against fine-tune accuracy, a picture for each place; None without both."""
    found = groups(comparison)
    if not found:
        return None
    whole = len(found) == 1 or any(len(group.rows) > MOST_NAMES for group in found)
    draw = _whole if whole else _beside
    panels = [draw(comparison, group) for group in found[:MOST]]
    return _figure("", "whole" if whole else "", panels, len(found), [], [])


def _whole(comparison: Comparison, group: Group) -> Panel:
    wide = group_picture(comparison, group, WIDE, must=True).svg("wide")
    narrow = group_picture(comparison, group, NARROW, must=False).svg("narrow")
    return Panel(group.title, [wide, narrow])


def _beside(comparison: Comparison, group: Group) -> Panel:
    return Panel(group.title, [group_picture(comparison, group, PLACE, must=False).svg()])


def over_axes(comparison: Comparison) -> list[Figure]:
    """Harmful score and accuracy over every axis of numbers, in the study's order."""
    found: dict[str, list[Curves]] = {}
    for one in curves(comparison):
        found.setdefault(one.axis, []).append(one)
    return [_over(comparison, axis, of_axis) for axis, of_axis in found.items()]


def _over(comparison: Comparison, axis: str, found: Sequence[Curves]) -> Figure:
    panels = [
        Panel(
            place_name(one.place),
            [picture.svg() for picture in metric_pictures(comparison, one, METRIC)],
        )
        for one in found[:MOST]
    ]
    metrics = [m for m in METRICS if any(m in one.metrics for one in found)]
    others = [name for name in comparison.axes if name != axis]
    header = ["variant", *map(axis_name, others), axis_name(axis)]
    header += [known_metric(metric).heading for metric in metrics]
    order = list(dict.fromkeys(row.variant for row in comparison.rows))
    order.sort(key=lambda name: name != comparison.baseline)
    drawn = {id(row) for one in found for own in one.lines.values() for row in own}
    rows = [
        [
            row.variant,
            *(short(row.axes.get(name)) for name in others),
            short(row.axes[axis]),
            *(_words(row.cells.get(metric)) for metric in metrics),
        ]
        for row in sorted(comparison.rows, key=lambda row: order.index(row.variant))
        if id(row) in drawn
    ]
    return _figure(axis_name(axis), "pairs", panels, len(found), header, rows)


def _figure(
    title: str, look: str, panels: list[Panel], count: int, header: list[str], rows: list[list[str]]
) -> Figure:
    return Figure(title, look, panels[:OPEN], panels[OPEN:], count - len(panels), header, rows)


def over_attacks(comparison: Comparison) -> Figure | None:
    """Attacks × defenses; None without several attacks."""
    shown = attack_map(comparison)
    if shown is None:
        return None
    panels = [Panel("", [attack_picture(shown).svg("fixed")])]
    return _figure("", "", panels, 1, ["attack", *shown.defenses], attack_rows(shown))


def _words(cell: Cell | None) -> str:
    return "–" if cell is None else f"{number(cell.mean.value)} {interval(cell.mean)}"
