"""The budget ledger, a search's tries and the worst case for the page."""

from dataclasses import dataclass

from holdfast.report.comparison import Comparison, Run
from holdfast.report.searched import search_sheet
from holdfast.report.sheet import budget_sheet
from holdfast.report.words import (
    axis_name,
    interval,
    number,
    place_name,
    short,
    whole,
)


@dataclass(frozen=True)
class Table:
    """A table as text: its header and rows."""

    header: list[str]
    rows: list[list[str]]


def search_table(run: Run) -> tuple[Table, str] | None:
    """Every try of the search with what it scored, and a sentence on it; None without a search."""
    sheet = search_sheet(run)
    if sheet is None:
        return None
    rows = [[entry.text for entry in row] for row in sheet.rows]
    return Table([column.title for column in sheet.columns], rows), " ".join(sheet.notes)


def ledger_table(comparison: Comparison) -> Table:
    """The ledger; what no row has recorded is left out."""
    sheet = budget_sheet(comparison)
    axes = comparison.axes
    header = ["variant", *map(axis_name, axes)]
    header += [column.title for column in sheet.columns[len(header) :]]
    return Table(header, [[entry.text for entry in row] for row in sheet.rows])


def worst_table(comparison: Comparison) -> Table | None:
    """The worst case over the attacker's settings; None where the study has none."""
    if not comparison.worst:
        return None
    others = list(dict.fromkeys(axis for one in comparison.worst for axis in one.axes))
    header = ["variant", *map(axis_name, others)]
    header += ["worst HS ↓", "95 % interval", "where", "settings", "seeds"]
    rows = [
        [
            one.variant,
            *(short(one.axes.get(axis)) for axis in others),
            number(one.estimate.value),
            interval(one.estimate),
            place_name(one.setting),
            whole(one.settings),
            whole(one.seeds),
        ]
        for one in comparison.worst
    ]
    return Table(header, rows)
