"""Harmful score against fine-tune accuracy: what stays safe and still learns the task.

Few rows are one pair of axes, with every name beside its point. Of many variants there is one pair
for each stage that they defend in, the others as grey dots behind them. Many places are a grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes

from holdfast.errors import UserError
from holdfast.report.drawing.canvas import Picture, settings
from holdfast.report.drawing.looks import FAMILIES, Look, by_family, family_looks, line_name, looks
from holdfast.report.drawing.marks import Point, draw_context, draw_points, name_points, told
from holdfast.report.drawing.panels import Panel, Scale, Setting, compose, percents, span
from holdfast.report.rows import Comparison, Row
from holdfast.report.sheet import settings_words
from holdfast.report.words import place_name

X, Y = "harmful_score", "finetune_accuracy"
TITLE = "Harmful fine-tuning: what stays safe and still learns the task"
# More points with their names are a thicket.
MOST_NAMES = 12
_MOST_COLUMNS, _MOST_PANELS = 6, 48


@dataclass(frozen=True)
class Group:
    """Rows that stand in one picture: their place in words, "" where it goes without saying."""

    title: str
    rows: list[Row]


def rows_of(comparison: Comparison) -> list[Row]:
    """The rows that have both metrics; of a model that no user has tuned, only if all are such.

    Its accuracy is that of a task it never saw, and would stretch the scale for all others.
    """
    rows = [row for row in comparison.rows if {X, Y} <= {*row.cells}]
    return [row for row in rows if row.finetune is not None] or rows


def groups(comparison: Comparison) -> list[Group]:
    """The rows of each place; together where they are few, or nearly all of one place."""
    rows = rows_of(comparison)
    found: dict[str, Group] = {}
    for row in rows:
        place = place_name(dict(comparison.place(row)))
        found.setdefault(place, Group(place, [])).rows.append(row)
    largest = max((len(group.rows) for group in found.values()), default=0)
    if len(rows) <= MOST_NAMES or len(rows) - largest <= 2:
        return [Group("", rows)] if rows else []
    return [*found.values()]


def drawn_looks(comparison: Comparison) -> dict[str, Look]:
    """The look of every kind of point that is drawn; of all kinds where nothing is."""
    drawn = {line_name(row, comparison.shared) for row in rows_of(comparison)}
    return {n: look for n, look in looks(comparison).items() if n in drawn or not drawn}


@settings()
def group_picture(comparison: Comparison, group: Group, width: float, must: bool) -> Picture:
    """The picture of one of `groups`.

    Args:
        comparison: the comparison.
        group: its rows.
        width: of the picture.
        must: write every name; otherwise those that fit.
    """
    label = "Harmful score against fine-tune accuracy"
    label += f", {group.title}: " if group.title else ": "
    label += "the numbers are in the table of results."
    panels = _panels(comparison, group.rows, must)
    columns = 2 if len(panels) > 1 and width > 600 else 1
    height = 270 if len(panels) > 1 else max(260, 0.36 * width)
    return compose(panels, Setting(columns, width, height), label)


@settings()
def tradeoff_picture(comparison: Comparison, subheading: str) -> Picture:
    """All rows in one picture, for a paper.

    Args:
        comparison: the comparison.
        subheading: what stands below the title, such as the protocol.

    Raises:
        UserError: no row has both metrics.
    """
    found = groups(comparison)
    if not found:
        raise UserError(f"no record has both '{X}' and '{Y}' to draw")
    if len(found) > 1:
        return _grid(comparison, subheading)
    notes = comparison.notes[:1]
    if comparison.budget_notes:
        notes.append("Budgets differ: see the table.")
    panels = _panels(comparison, found[0].rows, must=True)
    columns, height = (2, 250) if len(panels) > 1 else (1, 340)
    width = 900 if len(panels) > 1 else 648
    key = family_looks(drawn_looks(comparison).values()) if len(panels) == 1 else {}
    setting = Setting(columns, width, height, TITLE, subheading, "  ".join(notes), key)
    return compose(panels, setting, TITLE)


def _panels(comparison: Comparison, rows: Sequence[Row], must: bool) -> list[Panel]:
    """One panel, or one for each family of many variants, the undefended in every one."""
    chosen = looks(comparison)
    x, y = _scales(rows_of(comparison))
    if len(rows) <= MOST_NAMES:
        return [_panel("", comparison, rows, rows, chosen, x, y, must)]
    names = {line_name(row, comparison.shared) for row in rows}
    here = {name: look for name, look in chosen.items() if name in names}
    families = by_family(here) or {"none": [*here]}
    panels = []
    for family in families:
        own = _of_family(comparison, rows, family, here)
        base = [] if family == "none" else _of_family(comparison, rows, "none", here)
        parts = [own[i : i + MOST_NAMES] for i in range(0, len(own), MOST_NAMES)]
        for number, part in enumerate(parts, start=1):
            title = FAMILIES[family] + (f" ({number} of {len(parts)})" if len(parts) > 1 else "")
            panels.append(_panel(title, comparison, [*base, *part], rows, chosen, x, y, must))
    return panels


def _of_family(
    comparison: Comparison, rows: Sequence[Row], family: str, chosen: Mapping[str, Look]
) -> list[Row]:
    return [row for row in rows if chosen[line_name(row, comparison.shared)].family == family]


def _scales(rows: Sequence[Row]) -> tuple[Scale, Scale]:
    means = [row.cells[Y].mean for row in rows]
    low, high = span([v for mean in means for v in (mean.low, mean.high)], 20, (0.0, 100.0))
    # The second is turned with its axis: it points upwards.
    return percents("← safer · harmful score (%)"), percents(
        "fine-tune accuracy (%) · better →", low, high
    )


def _panel(
    title: str,
    comparison: Comparison,
    rows: Sequence[Row],
    everything: Sequence[Row],
    chosen: Mapping[str, Look],
    x: Scale,
    y: Scale,
    must: bool,
    named: bool = True,
) -> Panel:
    def point(row: Row) -> Point:
        look = chosen[line_name(row, comparison.shared)]
        name = _label(row, everything) if named else ""
        return Point(row.cells[X].mean, row.cells[Y].mean, look, told(row, (X, Y)), name)

    def draw(picture: Picture, axes: Axes) -> None:
        others = [row for row in everything if row not in rows]
        means = [(row.cells[X].mean.value, row.cells[Y].mean.value) for row in others]
        draw_context(axes, [m[0] for m in means], [m[1] for m in means])
        # The worst are drawn first, and named last.
        points = [point(row) for row in sorted(rows, key=lambda row: -row.cells[X].mean.value)]
        draw_points(picture, axes, points, 8 if named else 6)
        if named:
            name_points(axes, points[::-1], must)

    return Panel(title, x, y, draw)


def _label(row: Row, rows: Sequence[Row]) -> str:
    """The variant, with what tells it from the other points: p where it is 0 or one of several."""
    attacks = {each.axes.get("harmful_ratio") for each in rows} - {0, None}
    shown = {}
    for axis, value in row.axes.items():
        several = len({repr(each.axes.get(axis)) for each in rows}) > 1
        if several and (axis != "harmful_ratio" or value == 0 or len(attacks) > 1):
            shown[axis] = value
    return f"{row.variant}, {settings_words(shown)}" if shown else row.variant


def _grid(comparison: Comparison, subheading: str) -> Picture:
    """A panel for each place: across an axis, or the families of many variants; down the rest."""
    chosen, rows = drawn_looks(comparison), rows_of(comparison)
    x, y = _scales(rows)
    x, y = replace(x, title="← safer · HS (%)"), replace(y, title="FA (%) · better →")
    many = len(chosen) > MOST_NAMES
    if many:
        across, columns = "", [*(by_family(chosen) or {"none": [*chosen]})]
        places = _places(rows, comparison.shared)
    else:
        across, columns, places = _layout(rows, comparison.shared)
    shown = places[: max(1, _MOST_PANELS // len(columns))]
    panels: list[Panel | None] = []
    drawn: list[Row] = []
    for place in shown:
        here = [row for row in rows if all(row.axes.get(a) == v for a, v in place.items())]
        drawn += here
        for column in columns:
            if many:
                own = _of_family(comparison, here, column, chosen)
                if column != "none":
                    own = [*_of_family(comparison, here, "none", chosen), *own]
                title, others = FAMILIES[column], here
            else:
                own = [row for row in here if not across or row.axes.get(across) == column]
                title, others = place_name({across: column}) if across else "", own
            panel = _panel(title, comparison, own, others, chosen, x, y, False, named=False)
            panels.append(panel if own else None)
    left_out = len({*map(comparison.place, rows)} - {*map(comparison.place, drawn)})
    note = f"{left_out} more places are not drawn." if left_out else ""
    lines = [place_name(place) for place in shown]
    width = max(648, 230 * len(columns))
    setting = Setting(len(columns), width, 150, TITLE, subheading, note, chosen, lines)
    return compose(panels, setting, TITLE)


def _layout(
    rows: Sequence[Row], shared: Sequence[str]
) -> tuple[str, list[Any], list[dict[str, Any]]]:
    """The axis that runs across, its values, and the places on all other axes."""
    values = {a: list(dict.fromkeys(row.axes.get(a) for row in rows)) for a in shared}
    fitting = [a for a in shared if 1 < len(values[a]) <= _MOST_COLUMNS]
    across = max(fitting, key=lambda a: len(values[a]), default="")
    return across, values.get(across, [None]), _places(rows, [a for a in shared if a != across])


def _places(rows: Sequence[Row], axes: Sequence[str]) -> list[dict[str, Any]]:
    """The places of the rows on some axes, in the rows' order."""
    found = ({a: row.axes.get(a) for a in axes} for row in rows)
    return [*{str(place): place for place in found}.values()]
