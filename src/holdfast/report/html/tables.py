"""The comparison as rows of text for the page's tables, each number with its exact value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.report.comparison import Cell, Comparison, Row
from holdfast.report.metrics import MAIN, Metric, known_metric
from holdfast.report.words import (
    axis_name,
    interval,
    number,
    place_name,
    probability,
    short,
    signed,
)


@dataclass(frozen=True)
class Shown:
    """One cell.

    Args:
        value: the exact value, which the table is sorted by; None where there is none.
        text: it as text.
        interval: its interval.
        delta: the difference to the baseline with its interval and p, where it is shown.
        look: "best", "close" or "".
    """

    value: float | None
    text: str
    interval: str = ""
    delta: str = ""
    look: str = ""


@dataclass(frozen=True)
class Line:
    """A row of the grid: its variant, where it is in words, its axes as text, its cells."""

    variant: str
    is_baseline: bool
    place: str
    axes: list[tuple[str, Any]]
    seeds: int
    cells: list[Shown]


@dataclass(frozen=True)
class Table:
    """The metrics of a table and its lines; the first ``wide`` metrics show their difference."""

    axes: list[str]
    metrics: list[Metric]
    lines: list[Line]
    wide: int = 0


@dataclass(frozen=True)
class Filter:
    """An axis that a reader may choose a value of."""

    name: str
    column: int
    values: list[str]


def main_table(comparison: Comparison) -> Table:
    """The metrics of every report; the difference to the baseline in HS and FA."""
    return _table(comparison, [m for m in comparison.metrics if m in MAIN], MAIN[:2])


def other_table(comparison: Comparison) -> Table | None:
    """All other metrics; None where there are none."""
    names = [name for name in comparison.metrics if name not in MAIN]
    return _table(comparison, names, ()) if names else None


def differences(comparison: Comparison) -> list[list[str]]:
    """Every difference to the baseline: place, metric, difference, interval, p and corrected p."""
    found = []
    for row in comparison.rows:
        for name, cell in row.cells.items():
            difference, percent = cell.difference, known_metric(name).percent
            if difference is not None:
                found.append(
                    [
                        row.variant,
                        *(short(row.axes.get(axis)) for axis in comparison.axes),
                        known_metric(name).title,
                        signed(difference.value, percent),
                        interval(difference, percent),
                        probability(difference.p),
                        probability(difference.p_holm),
                    ]
                )
    return found


def filters(comparison: Comparison) -> list[Filter]:
    """Variant and axes of which there are several values, by their column in the tables."""
    columns = [[row.variant for row in comparison.rows]]
    columns += [[short(row.axes.get(axis)) for row in comparison.rows] for axis in comparison.axes]
    named = zip(["variant", *map(axis_name, comparison.axes)], columns, strict=True)
    found = [(name, i, list(dict.fromkeys(own))) for i, (name, own) in enumerate(named)]
    return [Filter(*one) for one in found if len(one[2]) > 1]


def _table(comparison: Comparison, names: Sequence[str], with_delta: Sequence[str]) -> Table:
    lines = [
        Line(
            row.variant,
            row.is_baseline,
            place_name(row.axes),
            [(short(row.axes.get(axis)), row.axes.get(axis)) for axis in comparison.axes],
            len(row.seeds),
            [_cell(row, name, name in with_delta) for name in names],
        )
        for row in comparison.rows
    ]
    axes = [axis_name(axis) for axis in comparison.axes]
    wide = sum(name in with_delta for name in names)
    return Table(axes, [known_metric(name) for name in names], lines, wide)


def _cell(row: Row, name: str, with_delta: bool) -> Shown:
    cell = row.cells.get(name)
    if cell is None:
        return Shown(None, "–")
    percent = known_metric(name).percent
    return Shown(
        cell.mean.value,
        number(cell.mean.value, percent),
        interval(cell.mean, percent),
        _delta(cell, percent) if with_delta else "",
        "best" if cell.best else "close" if cell.close else "",
    )


def _delta(cell: Cell, percent: bool) -> str:
    found = cell.difference
    if found is None:
        return ""
    p = probability(found.p if found.p_holm is None else found.p_holm)
    words = ["Δ", signed(found.value, percent), interval(found, percent), f"p {p}"]
    return " ".join(filter(None, words))
