"""The tables of a report as text, before a format is chosen: results, worst case, budgets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.report.metrics import MAIN, known_metric
from holdfast.report.rows import Cell, Comparison, Row
from holdfast.report.words import (
    axis_name,
    interval,
    memory,
    number,
    probability,
    share,
    short,
    signed,
    whole,
)
from holdfast.stages.time_left import duration
from holdfast.statistics.estimates import Estimate

MARKS = "bold: the best of its place; ≈: not told from the best (paired, corrected, 5 %)."


@dataclass(frozen=True)
class Entry:
    """One cell: its text, an interval or the like beside it, a shorter one for a narrow column.

    Args:
        text: The value.
        more: What stands beside it, such as "[12.1, 17.9]".
        below: What stands below it on a terminal, such as "12–18".
        look: "best", "close" (not told from the best) or "".
    """

    text: str
    more: str = ""
    below: str = ""
    look: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it holds numbers, how soon it goes where there is no room.

    Args:
        title: The title.
        right: Numbers stand to the right.
        spare: 0 stays; of the others the largest goes first.
    """

    title: str
    right: bool = True
    spare: int = 0


@dataclass(frozen=True)
class Sheet:
    """A table with its title and the sentences below it."""

    title: str
    columns: list[Column]
    rows: list[list[Entry]]
    notes: list[str] = field(default_factory=list)


def results_sheet(comparison: Comparison, title: str, asked: Sequence[str] | None = None) -> Sheet:
    """One line for each row: its place, the metrics, the differences to the baseline.

    Args:
        comparison: the numbers.
        title: what stands above it, such as the protocol.
        asked: the metrics of the table, each with its difference; None for the usual ones, with
            differences in harmful score and fine-tune accuracy.
    """
    names = [m for m in comparison.metrics if m in (MAIN if asked is None else asked)]
    told = names if asked is not None else [m for m in names if m in MAIN[:2]]
    told = [m for m in told if comparison.baseline]
    columns = [Column("variant", False), *(_axis(axis) for axis in comparison.axes)]
    for name in names:
        metric = known_metric(name)
        columns.append(Column(metric.heading, spare=0 if name in (*MAIN[:3], *told) else 2))
        if name in told:
            columns.append(Column(f"Δ {metric.title}", spare=0 if name == told[0] else 3))
    columns.append(Column("seconds", spare=4))
    rows = []
    for row in comparison.rows:
        line = place(row, comparison.axes)
        for name in names:
            line.append(_value(row.cells.get(name), known_metric(name).percent))
            if name in told:
                line.append(_difference(row.cells.get(name), known_metric(name).percent))
        line.append(Entry("–" if row.budget.seconds is None else f"{row.budget.seconds:.1f}"))
        rows.append(line)
    marked = any(cell.best for row in comparison.rows for cell in row.cells.values())
    notes = [*comparison.notes, *([MARKS] if marked else []), *comparison.budget_notes]
    return Sheet(title, columns, rows, notes)


def worst_sheet(comparison: Comparison) -> Sheet | None:
    """The worst harmful score over the attacker's settings; None where nothing was attacked twice.

    Its notes say what the interval is of.
    """
    if not comparison.worst:
        return None
    axes = [a for a in comparison.axes if any(a in one.axes for one in comparison.worst)]
    known = [*comparison.axes, "asked"]  # an attacker's way of asking is no axis of the study
    attacks = [a for a in known if any(a in one.setting for one in comparison.worst)]
    columns = [Column("variant", False), *map(_axis, axes)]
    columns += [Column("worst HS"), *(Column(f"at {_axis(a).title}") for a in attacks)]
    columns.append(Column("settings", spare=1))
    rows = [
        [
            Entry(one.variant),
            *(Entry(short(one.axes.get(axis))) for axis in axes),
            _estimate(one.estimate, True),
            *(Entry(short(one.setting.get(axis))) for axis in attacks),
            Entry(str(one.settings)),
        ]
        for one in comparison.worst
    ]
    note = (
        "The interval is of the largest value itself: its lower end is corrected for the number of "
        "settings. The value, a largest mean of several, is a little too high on average."
    )
    return Sheet(
        "Worst case over the attacker's settings", columns, rows, [note, *comparison.attackers]
    )


def budget_sheet(comparison: Comparison) -> Sheet:
    """What every row was given and took: means over the seeds, the largest peak."""
    told = {
        "rows": lambda b: whole(b.rows),
        "steps": lambda b: whole(b.steps),
        "passes": lambda b: whole(b.passes),
        "tokens": lambda b: whole(b.tokens),
        "tries": lambda b: whole(b.tries),
        "zeroed": lambda b: share(b.zeroed),
        "time": lambda b: duration(b.seconds),
        "peak memory": lambda b: memory(b.peak_memory_bytes),
    }
    kept = {
        name: words
        for name, words in told.items()
        if any(words(row.budget) != "–" for row in comparison.rows)
    }
    rows = [
        [*place(row, comparison.axes), *(Entry(words(row.budget)) for words in kept.values())]
        for row in comparison.rows
    ]
    columns = [Column("variant", False), *map(_axis, comparison.axes), *map(Column, kept)]
    return Sheet("Budgets", columns, rows, list(comparison.budget_notes))


def place(row: Row, axes: Sequence[str]) -> list[Entry]:
    """The variant and its values of the axes."""
    return [Entry(row.variant), *(Entry(short(row.axes.get(axis))) for axis in axes)]


def _axis(axis: str) -> Column:
    return Column("p" if axis == "harmful_ratio" else axis_name(axis), right=axis != "task")


def _value(cell: Cell | None, percent: bool) -> Entry:
    if cell is None:
        return Entry("–")
    entry = _estimate(cell.mean, percent)
    look = "best" if cell.best else "close" if cell.close else ""
    return Entry(entry.text, entry.more, entry.below, look)


def _estimate(mean: Estimate, percent: bool) -> Entry:
    more, below = interval(mean, percent), ""
    if more:
        below = more[1:-1].replace(", ", "–")
    if more and percent:  # whole percents, rounded outwards
        below = f"{math.floor(mean.low)}–{math.ceil(mean.high)}"
    return Entry(number(mean.value, percent), more, below)


def _difference(cell: Cell | None, percent: bool) -> Entry:
    if cell is None or cell.difference is None:
        return Entry("–")
    found = cell.difference
    p = probability(found.p_holm if found.p_holm is not None else found.p)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    if not math.isfinite(found.low):  # one seed without its outcomes
        return Entry(signed(found.value, percent))
    told = f"{interval(found, percent)} {p}".strip()
    return Entry(signed(found.value, percent), told, p.replace("p ", "").replace("= ", "p "))


def settings_words(axes: dict[str, Any]) -> str:
    """Axes and values in words, for a sentence."""
    return ", ".join(f"{_axis(axis).title} = {short(value)}" for axis, value in axes.items())


def line_name(row: Row, shared: Sequence[str], but: str = "") -> str:
    """A row's variant, with the settings that only it has: what is one line, or one kind of point.

    Args:
        row: the row.
        shared: the axes that all variants have.
        but: an axis that does not count, for it is what the line runs over.
    """
    own = {a: value for a, value in row.axes.items() if a not in shared and a != but}
    return f"{row.variant} ({settings_words(own)})" if own else row.variant
